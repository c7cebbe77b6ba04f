// Who calls? For an app in JavaScript behind a Lintel sidecar, with nothing but
// Node's own crypto. Run: node caller.mjs http://127.0.0.1:9901 corp.example <Txn-Token>
import crypto from "node:crypto";

// The sidecar's key makes one algorithm only: the token does not choose.
const hashes = {
  ES256: ["sha256", { dsaEncoding: "ieee-p1363" }],
  ES384: ["sha384", { dsaEncoding: "ieee-p1363" }],
  PS256: ["sha256", { padding: crypto.constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }],
};

// Keep the keys for a minute in a real app, and ask again for an unknown kid.
async function keysOf(admin) {
  const res = await fetch(admin + "/.well-known/jwks.json", { redirect: "error" });
  return (await res.json()).keys;
}

export async function callerOf(token, admin, trustDomain) {
  const [head, body, signature, more] = token.split(".");
  if (!signature || more !== undefined) throw new Error("no token");
  const read = (part) => JSON.parse(Buffer.from(part, "base64url"));
  const header = read(head);
  const jwk = (await keysOf(admin)).find((k) => k.kid === header.kid);
  if (!jwk || header.typ !== "txntoken+jwt" || header.alg !== jwk.alg || !hashes[jwk.alg]) throw new Error("no key of a minter");
  const [hash, options] = hashes[jwk.alg];
  const key = crypto.createPublicKey({ key: jwk, format: "jwk" });
  if (!crypto.verify(hash, Buffer.from(head + "." + body), { key, ...options }, Buffer.from(signature, "base64url"))) throw new Error("altered");
  const claims = read(body);
  const now = Date.now() / 1000;
  if (claims.aud !== trustDomain || !(claims.exp + 5 > now) || !(claims.iat - 5 < now)) throw new Error("not for here, or not for now");
  return { user: claims.sub, roles: claims.tctx?.roles ?? [], scope: claims.scope.split(" "), context: claims.tctx ?? {} };
}

if (process.argv[1]?.endsWith("caller.mjs")) {
  const [admin, trustDomain, token] = process.argv.slice(2);
  const c = await callerOf(token, admin, trustDomain);
  console.log(c.user, c.roles.join(","));
}
