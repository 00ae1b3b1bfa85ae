// A client of a coffer vault in JavaScript, on an implementation of OPAQUE that has
// nothing in common with the one in Go. It shows that vault/SPEC.md, to whose sections
// the comments refer, is enough to write one from. It registers, recovers and asks for
// the status, and has no retries.

import crypto from "node:crypto";
import https from "node:https";
import { client as opaque, ready } from "@serenity-kit/opaque-p256";

await ready;

const VERSION = 1;
const CALL = { Start: 1, Finish: 2, Abort: 3, RegBegin: 4, RegPut: 5, RegTry: 6, RegDone: 7, Owner: 8, Status: 9 };
const CODE = [, "OK", "USED", "BUSY", "WAIT", "FROZEN", "DEAD", "FAILED", "STALE", "CONFLICT", "NEED-OWNER", "UNAVAILABLE", "OLD-DESCRIPTOR"];
const OP_RELEASE = 1;
const SIZE = { reply: 768, release: 5120, signature: 64, ke1: 98, ke2: 259, ke3: 32, token: 157, record: 129, point: 33 };
const MAX_DESCRIPTOR = 8 << 10;

const utf8 = (text) => Buffer.from(text, "utf8");
const b64 = (bytes) => Buffer.from(bytes).toString("base64url");
const unb64 = (text) => Buffer.from(text, "base64url");
const sha256 = (...parts) => parts.reduce((h, p) => h.update(p), crypto.createHash("sha256")).digest();

function uint(size, value) {
  const b = Buffer.alloc(size);
  for (let i = size - 1, v = BigInt(value); i >= 0; i--, v >>= 8n) b[i] = Number(v & 255n);
  return b;
}

// lp is x with its length before it.
const lp = (x) => Buffer.concat([uint(2, x.length), x]);

// An answer that is not to be trusted.
export class Forged extends Error {}
// What a vault says instead of what was asked for.
export class Refused extends Error {
  constructor(reply) {
    super(reply.code);
    Object.assign(this, { code: reply.code, left: reply.left, max: reply.max });
  }
}
export class WrongPassword extends Refused {}

function check(ok, what) {
  if (!ok) throw new Forged(what);
}

// A Reader takes fields from bytes.
class Reader {
  constructor(bytes) {
    this.rest = bytes;
  }
  take(n) {
    check(this.rest.length >= n, "it is too short");
    const b = this.rest.subarray(0, n);
    this.rest = this.rest.subarray(n);
    return b;
  }
  uint(n) {
    return this.take(n).reduce((v, x) => (v << 8n) | BigInt(x), 0n);
  }
  number(n) {
    return Number(this.uint(n));
  }
  bytes() {
    return this.take(this.number(2));
  }
  receipt() {
    return { ver: this.uint(8), gen: this.uint(8), kv: this.number(4) };
  }
}

// § 2.2: what a client is willing to stretch a password with.
function stretching({ kib, time, lanes }) {
  const cost = kib * time;
  check(kib >= 19 << 10 && kib <= 2 << 20 && time >= 1 && time <= 16 && lanes >= 1 && lanes <= 16, "its KSF");
  check(cost >= 38 << 10 && cost <= 4 << 20, "the cost of its KSF");
  return { "argon2id-custom": { memory: kib, iterations: time, parallelism: lanes } };
}

// § 2.1
function parseDescriptor(signed, id) {
  const [line, signature, end, ...more] = signed.toString("utf8").split("\n");
  check(end === "" && more.length === 0, "the descriptor is not two lines");
  const d = JSON.parse(line);
  const root = unb64(d.root);
  check(root.length === 32 && b64(sha256(utf8("coffer vault v1"), root)) === id, "the descriptor is another vault's");
  const key = crypto.createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: b64(root) }, format: "jwk" });
  check(crypto.verify(null, utf8("coffer vault v1 descriptor" + line), key, unb64(signature)), "the descriptor's signature");
  check(d.version === 1 && d.ksf.name === "argon2id", "the descriptor's version or KSF");
  const point = crypto.ECDH.convertKey(unb64(d.statement), "prime256v1", undefined, undefined, "uncompressed");
  const [x, y] = [b64(point.subarray(1, 33)), b64(point.subarray(33))];
  return {
    hash: sha256(signed),
    ksf: { kib: d.ksf.m_kib, time: d.ksf.t, lanes: d.ksf.p },
    ake: d.ake,
    statement: crypto.createPublicKey({ key: { kty: "EC", crv: "P-256", x, y }, format: "jwk" }),
  };
}

// § 4.3
function parseReply(frame, call) {
  check(frame[0] === VERSION && frame[1] === call, "the reply is to something else");
  const r = new Reader(frame.subarray(2, -SIZE.signature));
  const reply = { code: CODE[r.number(1)], left: r.number(1), max: r.number(1), until: r.number(8) };
  check(reply.code, "the reply's code");
  const ok = reply.code === "OK";
  if (ok && (call === CALL.Start || call === CALL.RegTry)) {
    Object.assign(reply, { ke2: r.take(SIZE.ke2), token: r.take(SIZE.token) });
    Object.assign(reply, { ksf: { kib: r.number(4), time: r.number(1), lanes: r.number(1) }, ake: r.number(2) });
  } else if (ok && call === CALL.RegBegin) {
    Object.assign(reply, { index: r.take(32), evaluated: r.take(SIZE.point), ake: r.number(2), serverKey: r.take(SIZE.point) });
  } else if (ok && (call === CALL.RegDone || call === CALL.Owner)) {
    reply.receipt = r.receipt();
  } else if ((ok || reply.code === "FROZEN") && call === CALL.Status) {
    reply.gen = r.uint(8);
  } else if (reply.code === "DEAD") {
    Object.assign(reply, { cause: r.number(1), died: r.number(8), tombstone: r.take(SIZE.signature) });
  } else if ((ok || reply.code === "CONFLICT") && call === CALL.Finish) {
    reply.release = r.bytes();
  }
  check(r.rest.every((x) => x === 0), "the padding is not zeros");
  return reply;
}

// § 4.4: what travels under a session key. HKDF-Expand of 32 bytes is one HMAC.
function sessionKey(session, label, attempt) {
  return crypto.createHmac("sha256", session).update(label).update(attempt).update("\x01").digest();
}

function seal(key, nonce, plain, bound) {
  const c = crypto.createCipheriv("aes-256-gcm", key, nonce).setAAD(bound);
  return Buffer.concat([c.update(plain), c.final(), c.getAuthTag()]);
}

function open(key, nonce, sealed, bound) {
  const d = crypto.createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: 16 }).setAAD(bound);
  d.setAuthTag(sealed.subarray(-16));
  try {
    return Buffer.concat([d.update(sealed.subarray(0, -16)), d.final()]);
  } catch {
    throw new Forged("what is sealed does not open");
  }
}

// § 5.2: keyrings.
class Place {
  constructor(vault, credential, kv, descriptor) {
    this.suffix = Buffer.concat([lp(utf8(vault)), lp(utf8(credential))]);
    this.bound = Buffer.concat([uint(4, kv), descriptor]);
  }
  key(salt, exportKey) {
    return Buffer.from(crypto.hkdfSync("sha256", exportKey, salt, Buffer.concat([utf8("coffer vault v1 wrap"), this.suffix]), 32));
  }
  wrap(keys, exportKey) {
    const size = 2 + 32 * keys.length;
    const plain = Buffer.concat([Buffer.from([1, keys.length]), ...keys], size <= 512 ? 512 : 4096);
    const salt = crypto.randomBytes(32);
    return Buffer.concat([salt, seal(this.key(salt, exportKey), Buffer.alloc(12), plain, this.bound)]);
  }
  unwrap(wrapped, exportKey) {
    const plain = open(this.key(wrapped.subarray(0, 32), exportKey), Buffer.alloc(12), wrapped.subarray(32), this.bound);
    const [version, n] = plain;
    check(version === 1 && n >= 1 && n <= 64 && plain.length === (2 + 32 * n <= 512 ? 512 : 4096), "the keyring");
    const r = new Reader(plain.subarray(2));
    const keys = Array.from({ length: n }, () => r.take(32));
    check(r.rest.every((x) => x === 0), "the keyring's padding");
    return keys;
  }
  // § 5.3: the public half of the owner key.
  ownerKey(newest) {
    const info = Buffer.concat([utf8("coffer vault v1 owner"), this.suffix]);
    const seed = Buffer.from(crypto.hkdfSync("sha256", newest, Buffer.alloc(0), info, 32));
    const der = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]);
    const key = crypto.createPublicKey(crypto.createPrivateKey({ key: der, format: "der", type: "pkcs8" }));
    return unb64(key.export({ format: "jwk" }).x);
  }
}

export class Client {
  // address is https://HOST/#VAULT-ID, and ca what vouches for its certificate, in PEM.
  constructor(address, ca) {
    this.url = new URL(address);
    this.vault = this.url.hash.slice(1);
    this.agent = new https.Agent({ ca, keepAlive: true, minVersion: "TLSv1.3" });
  }

  close() {
    this.agent.destroy();
  }

  // § 4.5
  fetch(method, path, body, least, most) {
    const url = new URL(this.url.pathname.replace(/\/$/, "") + path, this.url);
    const headers = body ? { "Content-Type": "application/octet-stream", "Content-Length": body.length } : {};
    return new Promise((resolve, reject) => {
      const request = https.request(url, { method, agent: this.agent, headers, timeout: 15000 }, (response) => {
        const length = Number(response.headers["content-length"]);
        if (response.statusCode !== 200 || !(length >= least && length <= most)) {
          response.resume();
          reject(new Error(`status ${response.statusCode}, ${length} bytes`));
          return;
        }
        const parts = [];
        response.on("data", (part) => parts.push(part)).on("error", reject).on("end", () => resolve(Buffer.concat(parts)));
      });
      request.on("timeout", () => request.destroy(new Error("no answer in time"))).on("error", reject).end(body);
    });
  }

  async trust() {
    return (this.by ??= parseDescriptor(await this.fetch("GET", "/v1/descriptor", undefined, 1, MAX_DESCRIPTOR), this.vault));
  }

  // call returns the reply to a request, which the vault has signed: § 5.5.
  async call(call, ...fields) {
    const by = await this.trust();
    const request = Buffer.concat([Buffer.from([VERSION, call]), ...fields]);
    const size = call === CALL.Finish ? SIZE.release : SIZE.reply;
    const frame = await this.fetch("POST", "/v1/call", request, size, size);
    const signed = Buffer.concat([utf8("coffer vault v1 reply"), sha256(request), frame.subarray(0, -SIZE.signature)]);
    const key = { key: by.statement, dsaEncoding: "ieee-p1363" };
    const reply = parseReply(frame, call);
    if (reply.code !== "UNAVAILABLE" && !crypto.verify("sha256", signed, key, frame.subarray(-SIZE.signature))) {
      throw Object.assign(new Forged("the signature of a reply"), { reply });
    }
    return reply;
  }

  async ask(call, ...fields) {
    const reply = await this.call(call, ...fields);
    if (reply.code !== "OK") throw new Refused(reply);
    return reply;
  }

  identifiers(credential) {
    return { client: credential, server: "coffer-vault:" + this.vault };
  }

  // ke3 takes KE2. It returns undefined for a wrong password.
  ke3(reply, state, ke1, credential, password) {
    check(!reply.ke2.subarray(0, SIZE.point).equals(ke1.subarray(0, SIZE.point)), "it is what was sent");
    const result = opaque.finishLogin({
      clientLoginState: state, loginResponse: b64(reply.ke2), password,
      identifiers: this.identifiers(credential), keyStretching: stretching(reply.ksf),
    });
    if (!result) return undefined;
    const ake = this.by.ake.find((a) => a.id === reply.ake);
    check(ake && ake.key === b64(unb64(result.serverStaticPublicKey)), "the AKE key is not the descriptor's");
    return { ke3: unb64(result.finishLoginRequest), session: unb64(result.sessionKey), exportKey: unb64(result.exportKey) };
  }

  // recover returns { keys, failures, receipt }, the newest key last. ticket is for
  // recover. Whatever is wrong, the vault hears the same.
  async recover(credential, password, ticket) {
    password = password.normalize("NFC");
    await this.trust();
    const attempt = crypto.randomBytes(16);
    const { clientLoginState, startLoginRequest } = opaque.startLogin({ password });
    const ke1 = unb64(startLoginRequest);
    let reply, login;
    try {
      reply = await this.ask(CALL.Start, lp(utf8(ticket)), attempt, ke1);
      login = this.ke3(reply, clientLoginState, ke1, credential, password);
    } catch (err) {
      const token = (reply ?? err.reply)?.token ?? crypto.randomBytes(SIZE.token);
      if (err instanceof Forged) await this.call(CALL.Abort, token).catch(() => {});
      throw err;
    }
    if (!login) throw new WrongPassword(await this.call(CALL.Abort, reply.token));

    const key = (label) => sessionKey(login.session, "coffer vault v1 " + label, attempt);
    const nonce = crypto.randomBytes(12);
    const command = Buffer.concat([nonce, seal(key("command"), nonce, Buffer.from([OP_RELEASE]), attempt)]);
    const { release } = await this.ask(CALL.Finish, reply.token, login.ke3, lp(command));
    const r = new Reader(open(key("release"), release.subarray(0, 12), release.subarray(12), attempt));
    const [receipt, failures, descriptor, wrapped] = [r.receipt(), r.number(1), r.take(32), r.bytes()];
    check(r.rest.length === 0, "the release is too long");
    const keys = new Place(this.vault, credential, receipt.kv, descriptor).unwrap(wrapped, login.exportKey);
    return { keys, failures, receipt };
  }

  // register keeps keys, the newest last, where nothing is kept yet, and logs in on that.
  // ticket is for register.
  async register(credential, password, keys, ticket) {
    password = password.normalize("NFC");
    const by = await this.trust();
    const [id, secret, attempt] = [crypto.randomBytes(16), crypto.randomBytes(32), crypto.randomBytes(16)];
    const { clientRegistrationState, registrationRequest } = opaque.startRegistration({ password });
    const blinded = unb64(registrationRequest);
    const begun = await this.ask(CALL.RegBegin, lp(utf8(ticket)), id, sha256(secret), by.hash, blinded);
    const newest = by.ake.at(-1);
    check(begun.ake === newest.id && b64(begun.serverKey) === newest.key, "the AKE key is not the descriptor's");
    check(!begun.evaluated.equals(blinded), "it is what was sent");
    const { registrationRecord, exportKey, serverStaticPublicKey } = opaque.finishRegistration({
      clientRegistrationState, registrationResponse: b64(Buffer.concat([begun.evaluated, begun.serverKey])), password,
      identifiers: this.identifiers(credential), keyStretching: stretching(by.ksf),
    });
    check(serverStaticPublicKey === newest.key, "the AKE key is not the descriptor's");

    const kv = Math.floor(Date.now() / 1000);
    const place = new Place(this.vault, credential, kv, by.hash);
    const wrapped = place.wrap(keys, unb64(exportKey));
    await this.ask(CALL.RegPut, begun.index, id, secret, unb64(registrationRecord), place.ownerKey(keys.at(-1)), uint(4, kv), lp(wrapped));

    const { clientLoginState, startLoginRequest } = opaque.startLogin({ password });
    const ke1 = unb64(startLoginRequest);
    const reply = await this.ask(CALL.RegTry, begun.index, id, secret, attempt, ke1);
    const login = this.ke3(reply, clientLoginState, ke1, credential, password);
    check(login && login.exportKey.equals(unb64(exportKey)), "what is there is not what was registered");
    return (await this.ask(CALL.RegDone, reply.token, login.ke3, Buffer.from([0]))).receipt;
  }

  // status returns { code, left, max, until }. ticket is for status.
  async status(ticket) {
    return this.call(CALL.Status, lp(utf8(ticket)));
  }
}
