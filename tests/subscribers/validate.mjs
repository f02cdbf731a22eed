// Reads JSON lines and checks each against a JSON Schema: node validate.mjs SCHEMA < lines
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import Ajv2020 from "ajv/dist/2020.js";

const check = new Ajv2020({ allowUnionTypes: true, strictTypes: false, strictRequired: false }).compile(
  JSON.parse(readFileSync(process.argv[2])),
);
let valid = 0;
for await (const line of createInterface({ input: process.stdin })) {
  if (!check(JSON.parse(line))) {
    console.error(`line ${valid + 1}: ${JSON.stringify(check.errors)}`);
    process.exit(1);
  }
  valid += 1;
}
console.log(valid);
