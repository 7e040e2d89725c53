// The reader's half of docs/encryption.md, for browsers and Node.js: WebCrypto,
// and nothing else.

/**
 * open decrypts the payload of an event that was sealed.
 *
 * @param {{topic: string, type: string, data: {jwe: string}}} event a CloudEvents envelope, as Outcrier sends it
 * @param {Map<string, CryptoKey>} keys by their kid, see importKey
 * @returns {Promise<unknown>} the payload
 * @throws {Error} when the event was not sealed, its key is not held, or it is not
 *   what was sealed for this topic and type
 */
export async function open(event, keys) {
  const parts = String(event.data?.jwe).split('.')
  if (parts.length !== 5 || parts[1] !== '') {
    throw new Error('not sealed: want a JWE in compact form with alg dir')
  }
  const [header, , iv, ciphertext, tag] = parts
  const { alg, enc, kid, topic, type, crit, zip } = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes(header)))
  // One algorithm, and not the header's choice.
  if (alg !== 'dir' || enc !== 'A256GCM' || crit !== undefined || zip !== undefined) {
    throw new Error(`sealed with ${alg} and ${enc}: want dir and A256GCM`)
  }
  if (topic !== event.topic || type !== event.type) {
    throw new Error('sealed for another topic or type')
  }
  const key = keys.get(kid)
  if (!key) {
    throw new Error(`sealed with key ${kid}, which is not held here`)
  }
  const sealed = bytes(ciphertext)
  const mac = bytes(tag)
  if (bytes(iv).length !== 12 || mac.length !== 16) {
    throw new Error('not sealed: want an IV of 12 bytes and a tag of 16')
  }
  const joined = new Uint8Array(sealed.length + mac.length)
  joined.set(sealed)
  joined.set(mac, sealed.length)
  const plain = await crypto.subtle.decrypt(
    { name: 'AES-GCM', iv: bytes(iv), additionalData: new TextEncoder().encode(header), tagLength: 128 }, key, joined)
  return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(plain))
}

/**
 * importKey makes a key of its 32 bytes in base64url. No script can read it out
 * again, and it opens only.
 *
 * @param {string} secret
 * @returns {Promise<CryptoKey>}
 */
export function importKey(secret) {
  return crypto.subtle.importKey('raw', bytes(secret), 'AES-GCM', false, ['decrypt'])
}

/** @param {string} text in base64url, without padding */
function bytes(text) {
  return Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0))
}
