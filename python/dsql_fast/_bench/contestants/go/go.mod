module contestant

go 1.24

require (
	github.com/aws/aws-sdk-go-v2 v1.43.6
	github.com/aws/aws-sdk-go-v2/feature/dsql/auth v1.1.37
)

require github.com/aws/smithy-go v1.27.8 // indirect
