package auth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// Key verifies tokens, and if it is a secret or a private key signs them too. Its kind
// decides the algorithm: HS256 for a secret, RS256, ES256 or EdDSA for keys of RSA, P-256
// and Ed25519.
type Key struct {
	// ID is compared with a token's kid, if both are set. It may be set before the key is
	// used.
	ID string

	method jwt.SigningMethod
	verify any // a secret's bytes or a public key, of the type that method takes
	sign   any // nil for one that only verifies

	// withdrawn is done once the key is no longer trusted. It is stored as a context,
	// against the rule, so that other contexts can end with it.
	withdrawn context.Context
	withdraw  context.CancelCauseFunc
}

// minSecretBytes is the size of the hash of HS256, below which RFC 7518, section 3.2,
// allows no secret. A secret made up by a person can be guessed offline from any token.
const minSecretBytes = 32

// ParseSecret returns a key for HS256 with these bytes.
func ParseSecret(secret []byte) (*Key, error) {
	switch {
	case bytes.Contains(secret, []byte("-----BEGIN")):
		// With this mistake everyone could sign.
		return nil, errors.New("the secret is a PEM file: give it as a public key")
	case len(secret) < minSecretBytes:
		return nil, fmt.Errorf("the secret has %d bytes, at least %d are needed", len(secret), minSecretBytes)
	}
	secret = bytes.Clone(secret)
	return &Key{method: jwt.SigningMethodHS256, verify: secret, sign: secret}, nil
}

// ParsePublicKeys reads one PEM block or more, each "PUBLIC KEY" or "RSA PUBLIC
// KEY": RSA of 2048 bits or more, P-256, or Ed25519.
func ParsePublicKeys(file []byte) ([]*Key, error) {
	var keys []*Key
	for rest := bytes.TrimSpace(file); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		block, after := pem.Decode(rest)
		if block == nil {
			return nil, errors.New("not a PEM file, or something follows its last block")
		}
		rest = after
		var public any
		var err error
		switch block.Type {
		case "PUBLIC KEY":
			public, err = x509.ParsePKIXPublicKey(block.Bytes)
		case "RSA PUBLIC KEY":
			public, err = x509.ParsePKCS1PublicKey(block.Bytes)
		case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("a private key was given where its public key belongs")
		default:
			return nil, fmt.Errorf("a PEM block of type %.40q; allowed are PUBLIC KEY and RSA PUBLIC KEY", block.Type)
		}
		if err != nil {
			return nil, fmt.Errorf("public key %d: %w", len(keys)+1, err)
		}
		key, err := newPublic(public)
		if err != nil {
			return nil, fmt.Errorf("public key %d: %w", len(keys)+1, err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("no public key: the file is empty")
	}
	return keys, nil
}

// ParsePrivateKey reads a PEM block "PRIVATE KEY", "RSA PRIVATE KEY" or "EC PRIVATE
// KEY", not encrypted, of the same kinds. The key signs and verifies.
func ParsePrivateKey(file []byte) (*Key, error) {
	block, rest := pem.Decode(bytes.TrimSpace(file))
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("not a PEM file of one block")
	}
	var private any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		private, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		private, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		private, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("a PEM block of type %.40q; allowed are PRIVATE KEY, RSA PRIVATE KEY and EC PRIVATE KEY, not encrypted", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a private key of kind %T does not sign", private)
	}
	key, err := newPublic(signer.Public())
	if err != nil {
		return nil, err
	}
	key.sign = private
	return key, nil
}

// maxRSABits bounds the work that one verification costs.
const minRSABits, maxRSABits = 2048, 8192

// newPublic returns a Key with the algorithm of its kind.
func newPublic(public any) (*Key, error) {
	switch public := public.(type) {
	case *rsa.PublicKey:
		if bits := public.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, fmt.Errorf("an RSA key of %d bits; allowed are %d to %d", bits, minRSABits, maxRSABits)
		}
		if public.E < 3 || public.E%2 == 0 {
			return nil, errors.New("the exponent of an RSA key must be odd, and at least 3")
		}
		return &Key{method: jwt.SigningMethodRS256, verify: public}, nil
	case *ecdsa.PublicKey:
		if public.Curve != elliptic.P256() {
			return nil, fmt.Errorf("a key on the curve %s; allowed is P-256", public.Params().Name)
		}
		return &Key{method: jwt.SigningMethodES256, verify: public}, nil
	case ed25519.PublicKey:
		return &Key{method: jwt.SigningMethodEdDSA, verify: public}, nil
	}
	return nil, fmt.Errorf("a public key of kind %T; allowed are RSA, P-256 and Ed25519", public)
}

// Algorithm returns the key's algorithm, as a token's header names it.
func (k *Key) Algorithm() string { return k.method.Alg() }

// String describes the key without secrets.
func (k *Key) String() string { return fmt.Sprintf("%s key %q", k.Algorithm(), k.ID) }

// GoString does the same for %#v.
func (k *Key) GoString() string { return k.String() }

// same reports whether both verify the same tokens.
func (k *Key) same(other *Key) bool {
	if secret, is := k.verify.([]byte); is {
		with, too := other.verify.([]byte)
		return too && hmac.Equal(secret, with)
	}
	public, ok := k.verify.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(other.verify)
}
