// What the Node peers share: a message on demand (benchmarks/harness/server.py has the protocol).
import { createInterface } from "node:readline";

export async function demanded(tell) {
  for await (const line of createInterface({ input: process.stdin })) {
    const [count, intervalUs, size] = line.split(" ").slice(1).map(Number);
    const begun = process.hrtime.bigint();
    for (let number = 0; number < count; number++) {
      const due = begun + BigInt(number * intervalUs) * 1000n;
      const wait = Number(due - process.hrtime.bigint()) / 1e6;
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, wait)));
      tell("x".repeat(size - 30) + "stamp=" + String(process.hrtime.bigint()).padStart(20, "0"));
    }
  }
  process.exit(0);
}
