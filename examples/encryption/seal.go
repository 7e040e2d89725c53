// Package encryption is the writer's half of docs/encryption.md: payloads that
// Outcrier, its database and its logs never see in the clear. The reader's half is
// open.mjs.
package encryption

import (
	"encoding/json"
	"fmt"

	"github.com/go-jose/go-jose/v4"

	"github.com/outcrier/outcrier/outbox"
)

// Key is a secret that writers and readers share, and Outcrier never has.
type Key struct {
	// ID names the key in sealed payloads, so that readers can hold several during a
	// rotation. It is not secret.
	ID string
	// Secret is 32 random bytes.
	Secret []byte
}

// Sealed is the payload of an event whose real payload is encrypted.
type Sealed struct {
	// JWE is the payload in JWE Compact Serialization (RFC 7516, section 7.1),
	// with alg dir and enc A256GCM.
	JWE string `json:"jwe"`
}

// Seal encrypts a draft's payload. What stays readable is the rest: topic, type,
// source, headers, and the length. Topic and type are bound to the ciphertext: a
// copy of it in another event is not opened.
func Seal(draft outbox.Draft, key Key) (outbox.Draft, error) {
	plain, err := json.Marshal(draft.Payload)
	if err != nil {
		return draft, fmt.Errorf("encode payload: %w", err)
	}
	// The protected header is the AAD of the encryption (RFC 7516, section 5.1):
	// who changes any of it, or the key, has it refused.
	var options jose.EncrypterOptions
	options.WithHeader("topic", draft.Topic).WithHeader("type", draft.Type)
	encrypter, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.DIRECT, Key: key.Secret, KeyID: key.ID}, &options)
	if err != nil {
		return draft, fmt.Errorf("key %q: %w", key.ID, err)
	}
	sealed, err := encrypter.Encrypt(plain)
	if err != nil {
		return draft, fmt.Errorf("encrypt payload: %w", err)
	}
	compact, err := sealed.CompactSerialize()
	draft.Payload = Sealed{compact}
	return draft, err
}
