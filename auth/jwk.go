package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// keySet is a JSON Web Key Set (RFC 7517, section 5).
type keySet struct {
	keys []*Key // that verify tokens
	// passedOver says why other keys are not among them: as the section requires, one key
	// of an unknown kind must not make the others unusable.
	passedOver []string
}

func parseJWKS(body []byte) (set keySet, err error) {
	object, err := parseObject(body)
	if err != nil {
		return set, err
	}
	list, given, err := optional[[]any](object, "keys")
	if err != nil || !given {
		return set, errors.New("not a JWKS: it has no list keys")
	}
	if len(list) > maxKeys {
		return set, fmt.Errorf("%d keys, at most %d are allowed", len(list), maxKeys)
	}
	for i, element := range list {
		fields, _ := element.(map[string]any)
		key, err := parseJWK(fields)
		if err != nil {
			set.passedOver = append(set.passedOver, fmt.Sprintf("key %d: %v", i+1, err))
			continue
		}
		set.keys = append(set.keys, key)
	}
	return set, nil
}

// parseJWK reads one key (RFC 7518, section 6; RFC 8037, section 2), if it is one to
// verify tokens with.
func parseJWK(fields map[string]any) (*Key, error) {
	kind, _, err := optional[string](fields, "kty")
	if err != nil {
		return nil, err
	}
	// Anyone can sign with a published private key. The same holds for a secret, which
	// matches none of the kinds below.
	if _, private := fields["d"]; private {
		return nil, errors.New("a private key")
	}
	if use, given, err := optional[string](fields, "use"); err != nil || given && use != "sig" {
		return nil, errors.New("use is not sig")
	}
	if operations, err := texts(fields, "key_ops"); err != nil || fields["key_ops"] != nil && !slices.Contains(operations, "verify") {
		return nil, errors.New("key_ops does not include verify")
	}
	var public any
	switch kind {
	case "RSA":
		public, err = rsaJWK(fields)
	case "EC":
		public, err = ecJWK(fields)
	case "OKP":
		public, err = edJWK(fields)
	default:
		err = errors.New("an unknown kind of key, or a secret")
	}
	if err != nil {
		return nil, err
	}
	key, err := newPublic(public)
	if err != nil {
		return nil, err
	}
	if algorithm, given, err := optional[string](fields, "alg"); err != nil || given && algorithm != key.Algorithm() {
		return nil, errors.New("alg does not fit the kind of key")
	}
	if key.ID, _, err = optional[string](fields, "kid"); err != nil || len(key.ID) > maxKidBytes {
		return nil, errors.New("kid is not a string of at most 255 bytes")
	}
	return key, nil
}

func rsaJWK(fields map[string]any) (*rsa.PublicKey, error) {
	n, err := octets(fields, "n")
	if err != nil {
		return nil, err
	}
	e, err := octets(fields, "e")
	if err != nil {
		return nil, err
	}
	exponent := new(big.Int).SetBytes(e)
	if exponent.BitLen() > 31 {
		return nil, errors.New("e is too large")
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent.Int64())}, nil
}

func ecJWK(fields map[string]any) (*ecdsa.PublicKey, error) {
	if curve, _, _ := optional[string](fields, "crv"); curve != "P-256" {
		return nil, errors.New("crv is not P-256")
	}
	x, err := octets(fields, "x")
	if err != nil {
		return nil, err
	}
	y, err := octets(fields, "y")
	if err != nil {
		return nil, err
	}
	if len(x) != 32 || len(y) != 32 {
		return nil, errors.New("x and y must have 32 bytes")
	}
	// Fails for a point that is not on the curve.
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
}

func edJWK(fields map[string]any) (ed25519.PublicKey, error) {
	if curve, _, _ := optional[string](fields, "crv"); curve != "Ed25519" {
		return nil, errors.New("crv is not Ed25519")
	}
	x, err := octets(fields, "x")
	if err == nil && len(x) != ed25519.PublicKeySize {
		err = errors.New("x must have 32 bytes")
	}
	return x, err
}

func octets(fields map[string]any, name string) ([]byte, error) {
	text, _, err := optional[string](fields, name)
	if err != nil {
		return nil, err
	}
	return decode(text)
}
