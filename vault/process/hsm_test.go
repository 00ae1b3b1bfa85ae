//go:build linux && cgo

package process_test

import (
	crand "crypto/rand"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/coffer-backup/coffer/internal/tokentest"
	"github.com/coffer-backup/coffer/vault/evaluator"
)

// newHSM makes a vault in mode hsm, of keys that were imported. The OPRF key of all its
// records is oprf, unless that is nil.
func newHSM(t *testing.T, oprf *evaluator.Scalar, change func(*config)) (p *process, soft *tokentest.Soft, ake evaluator.Scalar) {
	t.Helper()
	soft = tokentest.SoftHSM(t)
	var kek, mac [32]byte
	crand.Read(kek[:])
	crand.Read(mac[:])
	statement, ake := evaluator.NewScalar(), evaluator.NewScalar()
	soft.ImportAES(hsmLabel+"-kek", kek[:], tokentest.Wrap)
	soft.ImportMAC(hsmLabel+"-mac", mac[:])
	soft.ImportEC(hsmLabel+"-statement", statement[:], tokentest.Sign)
	soft.ImportEC(hsmLabel+"-ake-1", ake[:], tokentest.Derive)
	public := ake.Public()
	k := &token{Module: soft.Module, Label: soft.Label, PIN: soft.PIN, AKE: public[:]}
	if oprf != nil {
		of := oprf.Public()
		k.Blob = soft.WrapEC(hsmLabel+"-kek", pkcs11.CKM_AES_KEY_WRAP_PAD, oprf[:])
		k.Public = of[:]
	}
	p = newProcess(t, statement.Public(), public, func(c *config) {
		c.Token = k
		change(c)
	})
	return p, soft, ake
}

// TestSecretsStayOutHSM looks for the keys that the token has, too. SoftHSM is in the
// vault's process: it has to decrypt them there, and overwrites them.
func TestSecretsStayOutHSM(t *testing.T) {
	oprf := evaluator.NewScalar()
	p, soft, ake := newHSM(t, &oprf, func(c *config) { c.Record = true })
	p.run()
	n := newNeedles()
	use(t, p, n)
	n.secret("OPRF key", oprf[:])
	n.secret("AKE key", ake[:])
	// SoftHSM alone has read this, from its configuration: the search goes as far.
	n.add("SoftHSM's directory", []byte(filepath.Join(soft.Dir, "tokens")))
	if found := search(t, p, n); !found["SoftHSM's directory"] {
		t.Error("the search does not find what SoftHSM has in memory")
	}
	p.stop()
}

// TestKilledHSM is TestKilled with a token. SoftHSM empties the token's file at each login,
// before it writes it: what is killed between the two has lost the token.
func TestKilledHSM(t *testing.T) {
	p, _, _ := newHSM(t, nil, func(c *config) { c.Spy = true })
	testKilled(t, p, 1_000, kills{least: 50 * time.Millisecond, most: 250 * time.Millisecond, started: true})
}
