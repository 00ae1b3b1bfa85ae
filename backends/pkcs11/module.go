//go:build cgo

package pkcs11

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	p11 "github.com/miekg/pkcs11"
)

// A library that fails is initialized anew after a pause, which doubles each time.
const (
	minPause = 100 * time.Millisecond
	maxPause = 2 * time.Second
)

// A module is a library in this process. There is one for each file, since the library
// has one state, which its users share.
type module struct {
	path string
	file os.FileInfo
	gate *gate

	// With modules.mu held:
	users int
	args  string // Config.InitArgs of the users

	// epoch counts initializations. Sessions, objects and slots of another one are
	// gone, and their numbers may be those of something else. It changes only while
	// somebody is alone inside the gate.
	epoch atomic.Uint64
	ready atomic.Bool // initialized, by whomever

	// While alone inside the gate:
	lib       *p11.Ctx
	functions functions // of lib
	library   string    // what it calls itself
	reserved  []byte    // args as a C string
	pinned    runtime.Pinner
	ours      bool // initialized by us: what others initialized is not ours to finalize
	pause     time.Duration
	last      time.Time   // when it was initialized; the next time is pause later at the soonest
	proved    atomic.Bool // something succeeded since the last initialization
}

// modules are those of this process. They stay, as the libraries do.
var modules struct {
	mu   sync.Mutex
	list []*module
}

// openModule returns the module at the configured path, with one more user.
func openModule(c *Config) (*module, error) {
	file, err := checkModule(c)
	if err != nil {
		return nil, err
	}
	modules.mu.Lock()
	defer modules.mu.Unlock()
	m := findModule(c.Module, file)
	if m == nil {
		m = &module{path: c.Module, file: file, gate: newGate()}
		modules.list = append(modules.list, m)
	}
	if m.users > 0 && m.args != c.InitArgs {
		return nil, errors.New("it is in use with other initialization arguments")
	}
	if m.args != c.InitArgs {
		m.ready.Store(false) // initialized with others, if it still is
		m.args = c.InitArgs
	}
	m.users++
	return m, nil
}

// findModule finds the module of a file. One that was replaced is still what the loader
// gives for its path.
func findModule(path string, file os.FileInfo) *module {
	for _, m := range modules.list {
		if m.path == path || os.SameFile(m.file, file) {
			return m
		}
	}
	return nil
}

// checkModule keeps the loader from searching for a library, and from loading what a
// directory or a pipe has.
func checkModule(c *Config) (os.FileInfo, error) {
	if !filepath.IsAbs(c.Module) || strings.ContainsRune(c.Module, 0) {
		return nil, fmt.Errorf("%w: the module's path must be absolute", ErrFailed)
	}
	file, err := os.Stat(c.Module)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFailed, err)
	}
	if !file.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: it is no regular file", ErrFailed)
	}
	if strings.ContainsRune(c.InitArgs, 0) {
		return nil, errors.New("the initialization arguments have a NUL byte")
	}
	return file, nil
}

// close takes one user away. The last one finalizes the library if it is ours and can be
// reached. Each call may take as long as limit.
func (m *module) close(ctx context.Context, limit time.Duration) {
	modules.mu.Lock()
	m.users--
	modules.mu.Unlock()
	if m.used() {
		return
	}
	if m.gate.enterAlone(ctx) != nil {
		m.ready.Store(false) // so who comes next finalizes it first
		return
	}
	w := newWorker(m.gate, limit, nil, nil)
	defer w.dismiss()
	_, _ = doInside(ctx, w, m.gate.leaveAlone, func() (none struct{}, err error) {
		if m.used() { // again
			return none, nil
		}
		m.last = time.Time{} // nothing failed, so who comes next need not wait
		return none, m.finalize(w)
	})
}

func (m *module) used() bool {
	modules.mu.Lock()
	defer modules.mu.Unlock()
	return m.users > 0
}

// start initializes the library unless it is ready.
func (m *module) start(o *op, limit time.Duration) error {
	if m.ready.Load() {
		return nil
	}
	return m.restart(o, limit, m.ready.Load)
}

// renew finalizes and initializes the library, which has failed, unless somebody did
// since epoch seen.
func (m *module) renew(o *op, limit time.Duration, seen uint64) error {
	return m.restart(o, limit, func() bool { return m.ready.Load() && m.epoch.Load() != seen })
}

// restart is alone inside the gate all the while, pause included: nobody else would get
// anywhere.
func (m *module) restart(o *op, limit time.Duration, enough func() bool) error {
	if err := m.gate.enterAlone(o.wait); err != nil {
		return err
	}
	if enough() {
		m.gate.leaveAlone()
		return nil
	}
	if m.proved.Swap(false) {
		m.pause = minPause
	}
	select {
	case <-time.After(time.Until(m.last.Add(m.pause))):
	case <-o.wait.Done():
		m.gate.leaveAlone()
		return context.Cause(o.wait)
	}
	w := newWorker(m.gate, limit, nil, nil)
	defer w.dismiss()
	_, err := doInside(o.ctx, w, m.gate.leaveAlone, func() (none struct{}, err error) {
		if !m.used() { // the last user closed it meanwhile
			return none, errEnded
		}
		err = m.initialize(w)
		m.last, m.pause = time.Now(), min(max(2*m.pause, minPause), maxPause, w.limit/4)
		return none, err
	})
	return err
}

// initialize is called alone inside the gate.
func (m *module) initialize(w *worker) error {
	if m.lib == nil {
		w.calling("loading the module")
		if err := m.load(); err != nil {
			return err
		}
	}
	_ = m.finalize(w) // it may be dead; what counts is what comes now
	w.calling("C_Initialize")
	err := m.lib.Initialize(p11.InitializeWithReserved(m.pinArgs()))
	switch {
	case err == nil:
		m.epoch.Add(1)
		m.ours = true
	case !isCode(err, p11.CKR_CRYPTOKI_ALREADY_INITIALIZED):
		return called("C_Initialize", err)
	}
	w.calling("C_GetInfo")
	if info, err := m.lib.GetInfo(); err == nil {
		v := info.LibraryVersion
		m.library = fmt.Sprintf("%s %d.%d", strings.TrimRight(info.LibraryDescription, " \x00"), v.Major, v.Minor)
	}
	m.ready.Store(true)
	return nil
}

// finalize is called alone inside the gate.
func (m *module) finalize(w *worker) error {
	m.ready.Store(false)
	if !m.ours {
		return nil
	}
	m.epoch.Add(1)
	w.calling("C_Finalize")
	err := m.lib.Finalize()
	m.ours = err != nil && !isCode(err, p11.CKR_CRYPTOKI_NOT_INITIALIZED)
	return called("C_Finalize", err)
}

func (m *module) load() error {
	var err error
	if m.functions, err = load(m.path); err != nil {
		return fmt.Errorf("%w: %w", ErrFailed, err)
	}
	if m.lib = p11.New(m.path); m.lib == nil {
		return fmt.Errorf("%w: it is no PKCS#11 module", ErrFailed)
	}
	return nil
}

// pinArgs returns args as a C string that stays where it is: libraries may read it
// whenever they like. It is nil if there are none.
func (m *module) pinArgs() unsafe.Pointer {
	modules.mu.Lock()
	defer modules.mu.Unlock()
	if m.args == "" {
		return nil
	}
	if c := append([]byte(m.args), 0); !bytes.Equal(c, m.reserved) {
		m.pinned.Unpin()
		m.pinned.Pin(&c[0])
		m.reserved = c
	}
	return unsafe.Pointer(&m.reserved[0])
}
