// Tokens by the AWS SDK for Go. Made-up keys; nothing is sent. It answers as ../serve.py does.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dsql/auth"
)

func main() {
	host, region := os.Getenv("CLUSTER_ENDPOINT"), os.Getenv("AWS_REGION")
	keys := aws.Credentials{
		AccessKeyID:     os.Getenv("AWS_ACCESS_KEY_ID"),
		SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY"),
	}
	// The cheapest provider that there can be: what is measured is the signature.
	provider := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return keys, nil })
	lifetime := func(options *auth.TokenOptions) { options.ExpiresIn = 900 * time.Second }
	sign := func() (string, error) {
		return auth.GenerateDBConnectAdminAuthToken(context.Background(), host, region, provider, lifetime)
	}

	fmt.Println("ready", versions())
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var way string
		var calls int
		answer := map[string]any{}
		_, err := fmt.Sscanf(lines.Text(), "%s %d", &way, &calls)
		if err == nil {
			answer, err = answered(way, calls, sign)
		}
		if err != nil {
			answer = map[string]any{"error": err.Error()}
		}
		line, err := json.Marshal(answer)
		if err != nil {
			line = []byte(`{"error": "what was measured is no number"}`)
		}
		fmt.Println(string(line))
	}
}

func answered(way string, calls int, sign func() (string, error)) (map[string]any, error) {
	switch way {
	case "go":
		began := time.Now()
		for range calls {
			if _, err := sign(); err != nil {
				return nil, err
			}
		}
		return map[string]any{"wall": time.Since(began).Seconds()}, nil
	case "go:token":
		token, err := sign()
		return map[string]any{"token": token}, err
	default:
		return nil, fmt.Errorf("there is no way %q", way)
	}
}

func versions() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	words := []string{"go=" + strings.TrimPrefix(info.GoVersion, "go")}
	for _, module := range info.Deps {
		words = append(words, module.Path+"="+strings.TrimPrefix(module.Version, "v"))
	}
	return strings.Join(words, " ")
}
