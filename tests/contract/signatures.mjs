// Signatures by Node's own cryptography. On stdin a JSON list of {text, signature, public_key} or
// {text, signature, certificate, authority}, texts and signatures in base64; on stdout whether each is right.
import { createVerify, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';

const bytes = (text) => Buffer.from(text, 'base64');
const right = ({ text, signature, public_key, certificate, authority }) => {
  let key = public_key;
  if (certificate) {
    const own = new X509Certificate(certificate);
    if (authority) {
      const issuer = new X509Certificate(authority);
      if (!own.checkIssued(issuer) || !own.verify(issuer.publicKey)) return false;
    }
    key = own.publicKey;
  }
  return createVerify('RSA-SHA256').update(bytes(text)).verify(key, bytes(signature));
};
console.log(JSON.stringify(JSON.parse(readFileSync(0, 'utf8')).map(right)));
