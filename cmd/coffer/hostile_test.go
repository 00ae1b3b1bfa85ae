//go:build linux && cgo

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/coffer-backup/coffer/archive"
	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/format"
	"github.com/coffer-backup/coffer/internal/need"
	"github.com/coffer-backup/coffer/internal/tokentest"
	"github.com/coffer-backup/coffer/keys"
)

// hostileSlot is a slot that nobody opens, whose hints are lures.
type hostileSlot struct {
	kind   format.Kind
	params []byte
	size   int // of what is wrapped
}

func (s hostileSlot) Wrap(context.Context, format.Core, *keys.FileKey) (format.Slot, error) {
	slot := format.Slot{Kind: s.kind, Params: s.params, Wrapped: make([]byte, s.size)}
	if s.kind != format.KindAccount {
		slot.Wrapped = format.Sized(slot.Wrapped)
	}
	copy(slot.Salt[:], fmt.Append(nil, s.kind, string(s.params))) // no two alike
	return slot, nil
}

// hostileSlots returns slots of kinds 1, 3 and 4 with each lure in each field that
// takes it.
func hostileSlots(t *testing.T, lures []string) (to []keys.Recipient) {
	t.Helper()
	for i, lure := range lures {
		id := make([]byte, format.KeyIDSize)
		copy(id, lure)
		to = append(to, hostileSlot{format.KindAccount, id, format.WrappedSize})

		p := format.PKCS11Params{Mech: format.MechAESGCM, ID: []byte(lure), Label: []byte(lure)}
		size := 92
		if i%2 == 1 {
			p.Mech, size = format.MechRSAOAEP, 256
		}
		copy(p.Serial[:], lure)
		params, err := p.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		to = append(to, hostileSlot{format.KindPKCS11, params, size})

		params, err = format.AppendTinkParams(nil, strings.Repeat(lure+" ", 3))
		if err != nil {
			t.Fatal(err)
		}
		to = append(to, hostileSlot{format.KindTink, params, 100})
	}
	return to
}

// A hostilePlace has a container "b" full of lures, an archive that the key opens, and
// a token and a keyset for a reader to use.
type hostilePlace struct {
	place
	*tokentest.Soft
	strace string
	lures  []string
}

func newHostilePlace(t *testing.T) hostilePlace {
	t.Helper()
	strace := need.Command(t, "strace", "apt-get install strace")
	p := hostilePlace{place: newPlace(t), Soft: tokentest.SoftHSM(t), strace: strace}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	address := listener.Addr().String()

	// Short ones, as a label has 64 bytes: and all that they name is there.
	dir, err := os.MkdirTemp("", "lure")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	module, err := os.ReadFile(p.Module)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir+"/m.so", module)
	writeFile(t, dir+"/pin", []byte(p.PIN))
	writeFile(t, dir+"/run", []byte("#!/bin/sh\ntouch "+dir+"/ran\n"))
	if err := os.Chmod(dir+"/run", 0o755); err != nil {
		t.Fatal(err)
	}
	p.lures = []string{
		dir + "/m.so",
		"pkcs11:?module-path=" + dir + "/m.so",
		"?pin-source=file:" + dir + "/pin",
		"|" + dir + "/run",
		"$(" + dir + "/run)",
		"http://" + address + "/key",
		"hcvault://" + address + "/k",
		"aws-kms://arn:aws:kms:x:1:key/" + filepath.Base(dir),
	}
	p.pack()
	writeFile(t, p.path("pin"), []byte(p.PIN+"\n"))
	writeFile(t, p.path("keyset"), keysetJSON(make([]byte, 32)))
	p.ok("hsm", "init", "-q", "--hsm", tokenURI(p.Soft, p.Module), "--hsm-pin-file", "pin")
	return p
}

// pack writes b.
func (p hostilePlace) pack() {
	p.t.Helper()
	var b bytes.Buffer
	w, err := engine.NewWriter(p.t.Context(), &b, append(hostileSlots(p.t, p.lures), p.key()), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	defer w.Abort()
	if _, err := archive.Create(p.t.Context(), w, []string{p.path("k")}, nil); err != nil {
		p.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		p.t.Fatal(err)
	}
	writeFile(p.t, p.path("b"), b.Bytes())
}

// trace runs a program and returns its calls that have to do with files, network and
// processes.
func (p hostilePlace) trace(args ...string) (code int, calls, stderr string) {
	p.t.Helper()
	log := p.path("log")
	c := exec.Command(p.strace, append([]string{"-f", "-s", "4096", "-o", log, "-e", "trace=%file,%network,%process"}, args...)...)
	c.Dir = p.dir
	code, stderr = status(p.t, c)
	trace, err := os.ReadFile(log)
	if err != nil {
		p.t.Fatal(err)
	}
	return code, string(trace), stderr
}

var (
	connects = regexp.MustCompile(`\b(connect|bind)\(|\bsocket\(AF_(INET|NETLINK|PACKET|VSOCK)`)
	executes = regexp.MustCompile(`\b(execve|execveat|vfork)\(`)
)

// lured returns the calls that no container may cause: any that name a lure, all
// connections, and all programs but the command itself.
func (p hostilePlace) lured(calls string) (bad []string) {
	programs := 0
	for line := range strings.Lines(calls) {
		named := strings.Contains(line, filepath.Dir(p.lures[0]))
		ran := executes.MatchString(line)
		if ran {
			programs++
		}
		connected := connects.MatchString(line) && !strings.Contains(line, `sun_path="/dev/log"`) // SoftHSM's log
		if named || connected || ran && programs > 1 {
			bad = append(bad, strings.TrimSpace(line))
		}
	}
	return bad
}

// Nothing that a container says has a reader open a file, load a library, connect or
// run anything, whatever keys it has.
func TestHostileHints(t *testing.T) {
	p := newHostilePlace(t)
	hsm := []string{"--hsm", tokenURI(p.Soft, p.Module), "--hsm-pin-file", "pin"}
	keyset := []string{"--tink-keyset", "keyset"}
	account := []string{"--key-file", "k"}
	all := append(append(append([]string{"--allow-anonymous"}, hsm...), keyset...), account...)
	for _, c := range []struct {
		args []string
		code int
	}{
		{append([]string{"verify", "b"}, account...), 0},
		{append([]string{"open", "--force", "-o", "out", "b"}, account...), 0},
		{append([]string{"restore", "--force", "-C", "restored", "b"}, account...), 0},
		{[]string{"inspect", "b"}, 0},
		{[]string{"inspect", "--json", "b"}, 0},
		{append([]string{"open", "--force", "-o", "out", "b"}, all...), 0},
		{append([]string{"open", "--force", "-o", "out", "b"}, hsm...), 1}, // more slots than it tries
		{append([]string{"open", "--force", "-o", "out", "b"}, keyset...), 1},
		{append([]string{"ls", "b"}, all...), 0},
		{[]string{"open", "b"}, 2},
	} {
		code, calls, stderr := p.trace(append([]string{"coffer"}, c.args...)...)
		if code != c.code {
			t.Errorf("%s: exit status %d\n%s", c.args, code, stderr)
		}
		if bad := p.lured(calls); len(bad) > 0 {
			t.Errorf("coffer %s:\n%s", strings.Join(c.args, " "), strings.Join(bad, "\n"))
		}
		if !strings.Contains(calls, `"b"`) {
			t.Errorf("coffer %s: it was not seen to open the container", strings.Join(c.args, " "))
		}
	}
	if _, err := os.Stat(filepath.Dir(p.lures[0]) + "/ran"); err == nil {
		t.Error("a program was run")
	}
}

// The test before sees what there is to see: a library that is loaded, a program that
// is run, a connection.
func TestHostileControl(t *testing.T) {
	p := newHostilePlace(t)
	dir := filepath.Dir(p.lures[0])
	for name, args := range map[string][]string{
		"library":    {"coffer", "hsm", "status", "--hsm", "pkcs11:?module-path=" + dir + "/m.so"},
		"PIN file":   {"coffer", "hsm", "status", "--hsm", tokenURI(p.Soft, p.Module) + "&pin-source=file:" + dir + "/pin"},
		"program":    {"coffer", "open", "--passphrase-command", dir + "/run", "b"},
		"connection": {need.Command(t, "bash", "apt-get install bash"), "-c", "echo > /dev/tcp/" + strings.Replace(strings.TrimSuffix(strings.TrimPrefix(p.lures[5], "http://"), "/key"), ":", "/", 1)},
	} {
		_, calls, stderr := p.trace(args...)
		if len(p.lured(calls)) == 0 {
			t.Errorf("%s: nothing was seen\n%s", name, stderr)
		}
	}
	// And the caller's own library is seen where a slot has it tried.
	p.ok("seal", "--hsm", tokenURI(p.Soft, p.Module), "--hsm-pin-file", "pin", "-o", "own", "k")
	_, calls, _ := p.trace("coffer", "verify", "--hsm", tokenURI(p.Soft, p.Module), "--hsm-pin-file", "pin", "own")
	if !strings.Contains(calls, p.Module) {
		t.Error("the caller's library was not seen")
	}
}

// What inspect prints of hints drives no terminal, and does not pass for other fields.
func TestHostileInspect(t *testing.T) {
	p := newPlace(t)
	const lure = "x\", alias \"y\n\x1b[31mslot 9  account key \xff\u202e"
	var b bytes.Buffer
	w, err := engine.NewWriter(t.Context(), &b, append(hostileSlots(t, []string{lure}), p.key()), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	writeFile(t, p.path("b"), b.Bytes())
	out, err := p.cmd("inspect", "b").Output()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.ContainsAny(out, "\x1b\xff") || bytes.Contains(out, []byte("\u202e")) || regexp.MustCompile(`(?m)^slot 9`).Match(out) {
		t.Errorf("%q", out)
	}
	if want := `label "x\", alias \"y\n\x1b[31mslot 9  account key \xff\u202e"`; !bytes.Contains(out, []byte(want)) {
		t.Errorf("no %s in\n%s", want, out)
	}
}
