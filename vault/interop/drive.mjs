// drive.mjs does what it is told on standard input, a line of JSON a task, and answers
// each with a line: the other side of interop_test.go.

import readline from "node:readline";
import { Client, Forged, WrongPassword } from "./client.mjs";

const tasks = {
  async register(c, t) {
    const keys = t.keys.map((key) => Buffer.from(key, "hex"));
    return c.register(t.credential, t.password, keys, t.ticket);
  },
  async recover(c, t) {
    const { keys, failures, receipt } = await c.recover(t.credential, t.password, t.ticket);
    return { ...receipt, failures, keys: keys.map((key) => key.toString("hex")) };
  },
  async status(c, t) {
    const { code, left, max } = await c.status(t.ticket);
    return { code, left, max };
  },
};

// Integers of 64 bits are texts.
const plain = (_, value) => (typeof value === "bigint" ? String(value) : value);

for await (const line of readline.createInterface({ input: process.stdin })) {
  const task = JSON.parse(line);
  const client = new Client(task.address, task.ca);
  let answer;
  try {
    answer = await tasks[task.do](client, task);
  } catch (err) {
    const kind = err instanceof Forged ? "forged" : err instanceof WrongPassword ? "wrong password" : "error";
    answer = { kind, error: err.message, left: err.left, max: err.max };
  } finally {
    client.close();
  }
  process.stdout.write(JSON.stringify(answer, plain) + "\n");
}
