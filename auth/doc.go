// Package auth authenticates requests: it turns the token of a request into an Identity
// with grants. Verifier.Authenticate is one implementation of an Authenticate function; an
// application with sessions of its own brings another, which returns an Identity or a
// *Refusal.
//
//	request → RequestToken → Verifier.Verify → Identity → MaySubscribe, MayPublish, May
//	                             ↑                 ↓
//	               keys of the configuration,   While: ends with the token, or
//	               keys of a JWKS (Run)         with the key that signed it
//
// A token is a JWT (RFC 7519) in compact form, signed with HS256, RS256, ES256 or
// EdDSA:
//
//	{"alg": "ES256", "kid": "2026-11"}
//	{"sub": "ann", "exp": 1795312800,
//	 "outcrier": {"subscribe": ["user/42/**", "public/**"], "publish": ["audit/**"], "admin": true}}
//
// admin is true for all grants of admins, or a list of some: ["metrics", "read"].
//
// Beyond the requirements of RFC 8725:
//
//   - A key decides the algorithm, never the token: each key has one, and the
//     header's must be equal to it. A kid is compared with those of known keys and
//     used for nothing else; jku, x5u, jwk and x5c are not read.
//   - A signature is verified before the claims are read, and only then may an error quote
//     them. No error quotes a signature, a secret or a token.
//   - JSON is read strictly: no name twice, on any level, and names in the very
//     letters. encoding/json would take "EXP" for "exp" and the last of two.
//   - A stream outlives neither its token nor its key.
//
// Why tokens are taken apart here and not by a library: docs/decisions, 12.
package auth
