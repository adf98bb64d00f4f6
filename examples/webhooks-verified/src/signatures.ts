// Whether a webhook really comes from who it says. `crypto.subtle.verify` compares in constant time.

/** How old a Stripe signature may be: a recorded request cannot be played back later. */
const TOLERANCE_SECONDS = 300;

/** `stripe-signature: t=<seconds>,v1=<hex>[,v1=<hex>...]`, an HMAC over `<seconds>.<body>`. */
export async function isFromStripe(body: string, header: string, secret: string, now = Date.now()): Promise<boolean> {
  const fields = header.split(",").map((field) => field.trim().split("=", 2));
  const time = fields.find(([name]) => name === "t")?.[1] ?? "";
  if (!/^\d+$/.test(time) || Math.abs(now / 1000 - Number(time)) > TOLERANCE_SECONDS) {
    return false;
  }
  const key = await hmacKey(secret);
  const signed = new TextEncoder().encode(`${time}.${body}`);
  // Two while Stripe rolls the secret.
  for (const [name, value] of fields) {
    const signature = name === "v1" ? bytesOfHex(value) : undefined;
    if (signature && await crypto.subtle.verify("HMAC", key, signature, signed)) {
      return true;
    }
  }
  return false;
}

/** `x-hub-signature-256: sha256=<hex>`, an HMAC over the body. */
export async function isFromGitHub(body: string, header: string, secret: string): Promise<boolean> {
  const signature = header.startsWith("sha256=") ? bytesOfHex(header.slice("sha256=".length)) : undefined;
  if (!signature) {
    return false;
  }
  return await crypto.subtle.verify("HMAC", await hmacKey(secret), signature, new TextEncoder().encode(body));
}

function hmacKey(secret: string): Promise<CryptoKey> {
  const bytes = new TextEncoder().encode(secret);
  return crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
}

function bytesOfHex(hex: string): BufferSource | undefined {
  if (!/^([0-9a-f]{2})+$/i.test(hex)) {
    return undefined;
  }
  return Uint8Array.from(hex.match(/../g)!, (byte) => parseInt(byte, 16));
}
