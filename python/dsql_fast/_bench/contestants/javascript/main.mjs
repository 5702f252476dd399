// Tokens by the AWS SDK for JavaScript. Made-up keys; nothing is sent. It answers as ../serve.py does.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

import { DsqlSigner } from "@aws-sdk/dsql-signer";

const PACKAGE = "@aws-sdk/dsql-signer";
// So many calls until the compiler has seen enough of them.
const WARM_UP = 3000;

const signer = new DsqlSigner({
  hostname: process.env.CLUSTER_ENDPOINT,
  region: process.env.AWS_REGION,
  expiresIn: 900,
  credentials: {
    accessKeyId: process.env.AWS_ACCESS_KEY_ID,
    secretAccessKey: process.env.AWS_SECRET_ACCESS_KEY,
  },
});

const ways = {
  javascript: async (calls) => {
    const began = process.hrtime.bigint();
    for (let call = 0; call < calls; call += 1) {
      await signer.getDbConnectAdminAuthToken();
    }
    return { wall: Number(process.hrtime.bigint() - began) / 1e9 };
  },
  "javascript:token": async () => ({ token: await signer.getDbConnectAdminAuthToken() }),
};

function version() {
  const { dependencies } = JSON.parse(readFileSync(new URL("package.json", import.meta.url), "utf8"));
  return dependencies[PACKAGE];
}

await ways.javascript(WARM_UP);
console.log(`ready node=${process.versions.node} ${PACKAGE}=${version()}`);
for await (const line of createInterface({ input: process.stdin })) {
  const [way, calls] = line.split(" ");
  let answer;
  try {
    answer = await ways[way](Number(calls));
  } catch (error) {
    answer = { error: String(error) };
  }
  console.log(JSON.stringify(answer));
}
