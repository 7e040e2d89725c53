package position

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding"
	"fmt"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
)

// Keys write positions and read them. A written one is "1042.", the id of its last
// event, and base64url of
//
//	form (1 byte), key (1), tag (16), sealed (the packed position, in steps of 16)
//
// The tag is HMAC-SHA256 of the form, the key's number, the id and the packed position, cut
// to 16 bytes. The packed position is XORed with HMAC-SHA256 of the tag and a counter. So
// the tag authenticates, and is the nonce too (the construction SIV): a position is written
// in the same bytes by every node, and no random number can come twice. The SQL function
// seal does the same; docs/decisions/0013-sealed-positions.md argues why.
//
// The keys are in the database. A Tail that has Keys reads them when it connects, and
// learns of new ones. Two of them are taken at a time: the one that is used, and the one
// before or after it.
//
// The methods may be called at the same time. The zero value and nil have no key: their
// positions can't be read, and they read none.
type Keys struct {
	present atomic.Pointer[keys]
}

// Key is the key that positions are written with.
type Key struct {
	number byte
	// inner and outer are the blocks that HMAC makes of a key (RFC 2104), and the states of
	// SHA-256 after them, which halve the work.
	inner, outer           [sha256.BlockSize]byte
	innerState, outerState []byte
}

type keys struct {
	used  *Key
	taken []*Key
}

// NewKeys makes a random key, for positions that only this process reads. A Tail
// replaces it.
func NewKeys() *Keys {
	var secret [sha256.Size]byte
	_, _ = rand.Read(secret[:]) // never fails
	key := newKey(1, secret[:])
	k := new(Keys)
	k.present.Store(&keys{used: key, taken: []*Key{key}})
	return k
}

// newKey makes a key of a secret of a block at most.
func newKey(number byte, secret []byte) *Key {
	key := &Key{number: number}
	copy(key.inner[:], secret)
	copy(key.outer[:], secret)
	for i := range key.inner {
		key.inner[i] ^= 0x36
		key.outer[i] ^= 0x5c
	}
	key.prepare()
	return key
}

// prepare makes the states of the blocks.
func (k *Key) prepare() {
	k.innerState, k.outerState = stateBehind(k.inner[:]), stateBehind(k.outer[:])
}

func stateBehind(block []byte) []byte {
	sum := sha256.New()
	sum.Write(block)
	state, err := sum.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		panic(err) // it has no cause
	}
	return state
}

// Used returns the key that positions are written with now, nil if there is none. A
// position written with another key must be written again before it is sent: that key may
// be gone when it comes back.
func (k *Keys) Used() *Key {
	if k == nil {
		return nil
	}
	if present := k.present.Load(); present != nil {
		return present.used
	}
	return nil
}

// keysSQL makes a key where there is none: after a dump of the schema alone, or a
// test suite that has emptied every table.
const keysSQL = `SELECT n, inner_block, outer_block, used FROM outcrier.position_keys()`

// Read reads the keys of the outbox of a schema, an outbox.Schema. The role needs the rights
// of outcrier_server.
func (k *Keys) Read(ctx context.Context, q interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}, schema interface{ SQL(query string) string }) error {
	rows, err := q.Query(ctx, schema.SQL(keysSQL))
	if err != nil {
		return fmt.Errorf("read the keys of positions: %w", err)
	}
	defer rows.Close()
	next := new(keys)
	for rows.Next() {
		var n int
		var inner, outer []byte
		var used bool
		if err := rows.Scan(&n, &inner, &outer, &used); err != nil {
			return fmt.Errorf("read the keys of positions: %w", err)
		}
		key := &Key{number: byte(n)}
		if copy(key.inner[:], inner) != sha256.BlockSize || copy(key.outer[:], outer) != sha256.BlockSize {
			return fmt.Errorf("read the keys of positions: key %d is not of %d bytes twice", n, sha256.BlockSize)
		}
		key.prepare()
		next.taken = append(next.taken, key)
		if used {
			next.used = key
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read the keys of positions: %w", err)
	}
	// Frames know what they were written with by the pointer.
	if old := k.present.Load(); old != nil {
		next.keep(old)
	}
	k.present.Store(next)
	return nil
}

// keep has the keys that were there before be the same pointers.
func (p *keys) keep(old *keys) {
	for i, key := range p.taken {
		for _, before := range old.taken {
			if key.number == before.number && key.inner == before.inner {
				p.taken[i] = before
				if p.used == key {
					p.used = before
				}
			}
		}
	}
}

// numbered returns the key with the number, nil if there is none.
func (k *Keys) numbered(number byte) *Key {
	if k == nil {
		return nil
	}
	present := k.present.Load()
	if present == nil {
		return nil
	}
	for _, key := range present.taken {
		if key.number == number {
			return key
		}
	}
	return nil
}
