// Package tokentest gives tests PKCS#11 tokens: a SoftHSM with a home of its own, a
// database of NSS, and a shim around either that fails when it is told to.
//
// Every token lies in a temporary directory of the test and needs no root. Keys are
// made in a child process, so that the test's own calls are the only ones that the
// module sees in its process.
package tokentest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/internal/need"
)

// Usage is what an imported key may do.
type Usage int

// A key does one of these, as those that coffer makes.
const (
	Encrypt Usage = iota // CKA_ENCRYPT and CKA_DECRYPT
	Wrap                 // CKA_WRAP and CKA_UNWRAP
	Sign                 // CKA_SIGN
	Derive               // CKA_DERIVE
)

// Soft is a SoftHSM with one token or more.
type Soft struct {
	Module string // the library's path
	Label  string // of the first token
	PIN    string // of every token's user
	SOPIN  string
	Dir    string // its home
	Conf   string // the path of its configuration, for a child's SOFTHSM2_CONF

	t testing.TB
}

// SoftHSM returns a SoftHSM with the empty token "coffer-test". It sets SOFTHSM2_CONF,
// which the library reads at C_Initialize.
func SoftHSM(t testing.TB) *Soft {
	t.Helper()
	need.Command(t, "softhsm2-util", "apt-get install softhsm2")
	dir := t.TempDir()
	s := &Soft{
		Module: library(t, "softhsm2", "/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/*/softhsm/libsofthsm2.so"),
		Label:  "coffer-test", PIN: "123456", SOPIN: "87654321",
		Dir: dir, Conf: filepath.Join(dir, "softhsm2.conf"), t: t,
	}
	tokens := filepath.Join(dir, "tokens")
	if err := os.Mkdir(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	conf := fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", tokens)
	write(t, s.Conf, conf)
	t.Setenv("SOFTHSM2_CONF", s.Conf)
	s.Init(s.Label)
	return s
}

// Init makes one more token.
func (s *Soft) Init(label string) {
	s.t.Helper()
	s.util("--init-token", "--free", "--label", label, "--so-pin", s.SOPIN, "--pin", s.PIN)
}

// Reinit initializes a token once more, from another process. Its keys are gone.
func (s *Soft) Reinit(label string) {
	s.t.Helper()
	s.util("--init-token", "--token", label, "--label", label, "--so-pin", s.SOPIN, "--pin", s.PIN)
}

func (s *Soft) util(args ...string) {
	s.t.Helper()
	run(s.t, exec.Command("softhsm2-util", append(args, "--module", s.Module)...), "SOFTHSM2_CONF="+s.Conf)
}

// ImportAES makes an AES key in the first token.
func (s *Soft) ImportAES(label string, key []byte, usage Usage) {
	s.t.Helper()
	s.errand(errand{Label: label, AES: key, Usage: usage})
}

// ImportRSA makes an RSA key pair in the first token, whose private half may decrypt.
func (s *Soft) ImportRSA(label string, pkcs8 []byte) {
	s.t.Helper()
	s.errand(errand{Label: label, RSA: pkcs8})
}

// ImportMAC makes a generic secret in the first token, which may sign.
func (s *Soft) ImportMAC(label string, key []byte) {
	s.t.Helper()
	s.errand(errand{Label: label, MAC: key})
}

// ImportEC makes a key pair of P-256 in the first token, whose private half may sign or derive.
func (s *Soft) ImportEC(label string, scalar []byte, usage Usage) {
	s.t.Helper()
	s.errand(errand{Label: label, EC: scalar, Usage: usage})
}

// WrapEC returns a private key of P-256 as the key with this label in the first token wraps it by
// mechanism.
func (s *Soft) WrapEC(label string, mechanism uint, scalar []byte) []byte {
	s.t.Helper()
	return s.errand(errand{Label: label, EC: scalar, Wrap: mechanism})
}

// Destroy destroys all keys with this label in the first token.
func (s *Soft) Destroy(label string) {
	s.t.Helper()
	s.errand(errand{Label: label, Destroy: true})
}

func (s *Soft) errand(e errand) []byte {
	s.t.Helper()
	e.Module, e.Token, e.PIN = s.Module, s.Label, s.PIN
	return e.run(s.t, "SOFTHSM2_CONF="+s.Conf)
}

// NSSToken is NSS's own token with a database.
type NSSToken struct {
	Module   string // the library's path
	InitArgs string // what the library wants at C_Initialize
	Label    string
	PIN      string
	Dir      string

	t testing.TB
}

// NSS returns a token of NSS with an empty database.
func NSS(t testing.TB) *NSSToken {
	t.Helper()
	certutil := need.Command(t, "certutil", "apt-get install libnss3-tools")
	dir := t.TempDir()
	n := &NSSToken{
		Module:   library(t, "libnss3", "/usr/lib/*/libsoftokn3.so", "/usr/lib/*/nss/libsoftokn3.so"),
		InitArgs: fmt.Sprintf("configdir='sql:%s' certPrefix='' keyPrefix='' secmod='secmod.db' flags= ", dir),
		Label:    "NSS Certificate DB", PIN: "123456", Dir: dir, t: t,
	}
	pin := filepath.Join(dir, "pin")
	write(t, pin, n.PIN+"\n")
	run(t, exec.Command(certutil, "-N", "-d", "sql:"+dir, "-f", pin))
	return n
}

// ImportAES makes an AES key.
func (n *NSSToken) ImportAES(label string, key []byte, usage Usage) {
	n.t.Helper()
	n.errand(errand{Label: label, AES: key, Usage: usage})
}

// ImportRSA makes an RSA key pair, whose private half may decrypt.
func (n *NSSToken) ImportRSA(label string, pkcs8 []byte) {
	n.t.Helper()
	n.errand(errand{Label: label, RSA: pkcs8})
}

// ImportMAC makes a generic secret, which may sign.
func (n *NSSToken) ImportMAC(label string, key []byte) {
	n.t.Helper()
	n.errand(errand{Label: label, MAC: key})
}

// ImportEC makes a key pair of P-256, whose private half may sign or derive.
func (n *NSSToken) ImportEC(label string, scalar []byte, usage Usage) {
	n.t.Helper()
	n.errand(errand{Label: label, EC: scalar, Usage: usage})
}

// WrapEC returns a private key of P-256 as the key with this label wraps it by
// mechanism.
func (n *NSSToken) WrapEC(label string, mechanism uint, scalar []byte) []byte {
	n.t.Helper()
	return n.errand(errand{Label: label, EC: scalar, Wrap: mechanism})
}

// Destroy destroys all keys with this label.
func (n *NSSToken) Destroy(label string) {
	n.t.Helper()
	n.errand(errand{Label: label, Destroy: true})
}

func (n *NSSToken) errand(e errand) []byte {
	n.t.Helper()
	e.Module, e.InitArgs, e.Token, e.PIN = n.Module, n.InitArgs, n.Label, n.PIN
	return e.run(n.t)
}

// library returns the first file that fits one of patterns, the places where Debian
// has the library of a package.
func library(t testing.TB, pkg string, patterns ...string) string {
	t.Helper()
	for _, pattern := range patterns {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[0]
		}
	}
	need.That(t, false, fmt.Sprintf("needs %s: apt-get install %s", filepath.Base(patterns[0]), pkg))
	return ""
}

func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run returns what cmd wrote.
func run(t testing.TB, cmd *exec.Cmd, env ...string) []byte {
	t.Helper()
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return out
}
