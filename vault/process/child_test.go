//go:build linux

package process_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/coffer-backup/coffer/backends/pkcs11"
	"github.com/coffer-backup/coffer/vault"
	"github.com/coffer-backup/coffer/vault/evaluator"
	"github.com/coffer-backup/coffer/vault/evaluator/hsm"
	"github.com/coffer-backup/coffer/vault/httpapi"
	"github.com/coffer-backup/coffer/vault/store/bolt"
)

// childFile makes a run of this test binary the process of a vault. It names a file with
// a config.
const childFile = "COFFER_VAULT_PROCESS"

func TestMain(m *testing.M) {
	file := os.Getenv(childFile)
	if file == "" {
		goleak.VerifyTestMain(m)
		return
	}
	if err := child(file); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A config is all that a child knows. Its listener is descriptor 3: the parent has it
// open, too, so that clients whom no child answers wait for the next one.
type config struct {
	Dir              string
	ID               string
	Descriptor       []byte
	Issuer           ed25519.PublicKey // of the id "app"
	Certificate, Key []byte            // PEM
	Secrets          []byte            // the file of mode software; nil: mode hsm
	Token            *token

	Spy    bool // the points that are evaluated go to a file
	Record bool // so do requests and responses
}

// A token is what mode hsm takes.
type token struct {
	Module, Label, PIN string
	AKE                []byte // the public half
	// Blob and Public are the key that every registration gets, if they are not empty.
	Blob, Public []byte
}

func (c *config) file(name string) string { return filepath.Join(c.Dir, name) }

// Files of a child.
const (
	storeFile     = "store"
	logFile       = "log"       // its stderr
	evaluatedFile = "evaluated" // points
	recordFile    = "record"    // requests and responses, as they are below TLS
)

// child serves a vault until it is killed, or its stdin ends.
func child(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var c config
	if err := json.Unmarshal(text, &c); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ev, err := c.evaluator(ctx)
	if err != nil {
		return err
	}
	s, err := bolt.Open(c.file(storeFile), nil)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	server, err := vault.NewServer(ctx, vault.Config{
		ID: c.ID, Descriptor: c.Descriptor, Evaluator: ev, Store: s, Log: log,
		Issuers: map[string]ed25519.PublicKey{"app": c.Issuer},
	})
	if err != nil {
		return errors.Join(err, s.Close())
	}
	var work sync.WaitGroup
	work.Go(func() { server.Run(ctx) })
	go control(os.Stdin, stop, log)
	err = c.serve(ctx, server, log)
	stop()
	work.Wait()
	return errors.Join(err, s.Close())
}

func (c *config) serve(ctx context.Context, server *vault.Server, log *slog.Logger) error {
	pair, err := tls.X509KeyPair(c.Certificate, c.Key)
	if err != nil {
		return err
	}
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return err
	}
	h := httpapi.Handler(server, &httpapi.HandlerOptions{Log: log})
	if c.Record {
		f, err := appendTo(c.file(recordFile))
		if err != nil {
			return err
		}
		h = &recorder{next: h, file: f}
	}
	fmt.Println("ready")
	return httpapi.Serve(ctx, l, h, &tls.Config{Certificates: []tls.Certificate{pair}}, &httpapi.ServeOptions{Log: log})
}

func (c *config) evaluator(ctx context.Context) (evaluator.Evaluator, error) {
	var ev evaluator.Evaluator
	if c.Token != nil {
		var err error
		if ev, err = c.Token.open(ctx); err != nil {
			return nil, err
		}
	} else {
		secrets, err := evaluator.ParseSoftware(c.Secrets)
		if err != nil {
			return nil, err
		}
		if ev, err = evaluator.NewSoftware(secrets); err != nil {
			return nil, err
		}
	}
	if !c.Spy {
		return ev, nil
	}
	f, err := appendTo(c.file(evaluatedFile))
	return &spy{ev, f}, err
}

// hsmLabel is that of a vault's keys in a token.
const hsmLabel = "vault"

func (k *token) open(ctx context.Context) (evaluator.Evaluator, error) {
	t, err := pkcs11.Open(ctx, pkcs11.Config{
		Module: k.Module, Token: k.Label,
		PIN: func(context.Context) ([]byte, error) { return []byte(k.PIN), nil },
	})
	if err != nil {
		return nil, err
	}
	ev, err := hsm.Open(ctx, t, hsm.Config{
		Label: hsmLabel, Mode: evaluator.ModeHSM,
		AKE: map[uint16]evaluator.Key{hsm.FirstAKE: {Public: evaluator.Point(k.AKE)}},
	})
	if err != nil || k.Blob == nil {
		return ev, err
	}
	// What a blob has before what the token gave is the same in all of a vault.
	made, err := ev.NewKey(ctx)
	if err != nil {
		return nil, err
	}
	head := made.Blob[:len(made.Blob)-len(k.Blob)]
	return &planted{ev, evaluator.Key{Blob: append(head, k.Blob...), Public: evaluator.Point(k.Public)}}, nil
}

// planted is an evaluator that makes one key, time and again.
type planted struct {
	evaluator.Evaluator
	key evaluator.Key
}

func (p *planted) NewKey(context.Context) (evaluator.Key, error) {
	return evaluator.Key{Blob: append([]byte(nil), p.key.Blob...), Public: p.key.Public}, nil
}

// A spy notes what is evaluated before it is, in a file that outlives the process.
type spy struct {
	evaluator.Evaluator
	file *os.File
}

func (s *spy) Evaluate(ctx context.Context, key evaluator.Key, blinded evaluator.Point) (evaluator.Point, error) {
	if _, err := s.file.Write(blinded[:]); err != nil {
		return evaluator.Point{}, err
	}
	return s.Evaluator.Evaluate(ctx, key, blinded)
}

func appendTo(file string) (*os.File, error) {
	return os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

// A recorder writes to a file what a handler gets and what it answers.
type recorder struct {
	next http.Handler
	mu   sync.Mutex
	file *os.File
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	asked, err := httputil.DumpRequest(q, true)
	if err != nil {
		panic(err)
	}
	answer := &tee{ResponseWriter: w}
	r.next.ServeHTTP(answer, q)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.file.Write(asked)
	_ = w.Header().Write(r.file)
	r.file.Write(answer.body)
}

type tee struct {
	http.ResponseWriter
	body []byte
}

func (t *tee) Write(b []byte) (int, error) {
	t.body = append(t.body, b...)
	return t.ResponseWriter.Write(b)
}

// marked is kept in memory.
var marked []byte

// control does what the parent wants, and calls stop when it wants nothing more.
func control(in io.Reader, stop func(), log *slog.Logger) {
	defer stop()
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		order, arg, _ := strings.Cut(lines.Text(), " ")
		switch order {
		case "mark":
			marked, _ = hex.DecodeString(arg)
			log.Info("marked", "with", arg)
			fmt.Println(len(marked))
		case "collect":
			runtime.GC()
			runtime.GC() // what has a finalizer goes with the second
			fmt.Println("collected")
		case "goroutines":
			fmt.Println(runtime.NumGoroutine())
		}
	}
}
