package main

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-backup/coffer/backends"
	"github.com/coffer-backup/coffer/backends/auto"
	"github.com/coffer-backup/coffer/backends/selftest"
	"github.com/coffer-backup/coffer/format"
)

// speedTime is how long each direction of a backend is measured.
const speedTime = 100 * time.Millisecond

func newBackends(u *ui) *cobra.Command {
	var h hsmFlags
	cmd := &cobra.Command{
		Use:   "backends [--hsm URI]",
		Short: "List who can encrypt and compress here, tested and measured",
		Long: `List the backends with their suites. Each is given a self-test with known answers,
and its speed on one core is measured. Both use the Go standard library so far: the
software backend takes what instructions it finds, aesni refuses to run without them.

With --hsm or $COFFER_HSM list that token too: whether it can be --backend pkcs11, and
which ways to wrap it was seen to do. Without, no token is touched.

Then list the compressors of this build with their levels. Each writes a container that
is read back, and the speed of one worker on built-in text is measured, encrypting
included. libzstd is in builds with cgo and without the tag purego. Decompressing is
done by klauspost/compress in every build.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := h.orEnvironment().key(cmd.Context())
			if err != nil {
				return err
			}
			err = listBackends(cmd.Context(), u, t)
			if cmd.Context().Err() != nil {
				return err
			}
			return cmp.Or(err, listCompressors(cmd.Context(), u))
		},
	}
	h.register(cmd.Flags())
	return cmd
}

type backendObject struct {
	Type     string  `json:"type"`
	tokenRow         // of pkcs11
	Name     string  `json:"name"`
	Suite    string  `json:"suite,omitempty"`
	SelfTest string  `json:"self_test"`
	Reason   string  `json:"reason,omitempty"` // why it was refused
	Seal     float64 `json:"seal_bytes_per_second,omitempty"`
	Open     float64 `json:"open_bytes_per_second,omitempty"`
}

// backendColumns are those of listBackends.
const backendColumns = "%-10s %-18s %-12s %12s %12s"

func (o backendObject) line() string {
	return fmt.Sprintf(backendColumns, o.Name, o.Suite, o.SelfTest, perSecond(o.Seal), perSecond(o.Open))
}

func listBackends(ctx context.Context, u *ui, t *tokenKey) error {
	if !u.json {
		if err := u.print(nil, fmt.Sprintf(backendColumns, "BACKEND", "SUITE", "SELF-TEST", "SEAL", "OPEN")); err != nil {
			return err
		}
	}
	var failed error
	for _, b := range auto.Backends() {
		rows, err := testBackend(ctx, b)
		if err != nil {
			failed = err
		}
		for _, o := range rows {
			if err := u.print(o, o.line()); err != nil {
				return err
			}
		}
	}
	if t != nil {
		if err := t.list(ctx, u); err != nil {
			failed = err
		}
	}
	if !u.json {
		if err := u.print(nil, "\naesni and software both compute by Go's standard library so far."); err != nil {
			return err
		}
	}
	return failed
}

// list shows the token as a backend, and how it wraps.
func (k *tokenKey) list(ctx context.Context, u *ui) error {
	defer k.close(ctx)
	token, err := k.openToken(ctx)
	if err != nil {
		return err
	}
	row, err := newTokenRow(ctx, token)
	if err != nil {
		return err
	}
	bulk, err := row.testBulk(ctx, token)
	if err != nil {
		return err
	}
	line := bulk.line()
	if bulk.Reason != "" {
		line += "\n" + visible(bulk.Reason)
	}
	if !u.json {
		line += fmt.Sprintf("\n\nToken %s wraps the keys of containers:", quoteName(row.Token))
	}
	if err := u.print(bulk, line); err != nil {
		return err
	}
	return row.listMechs(ctx, u, token)
}

// testBackend returns a row for each suite of b, and the last failure.
func testBackend(ctx context.Context, b backends.Backend) (rows []backendObject, failed error) {
	if len(b.Suites()) == 0 {
		return []backendObject{{Type: "backend", Name: b.Name(), Suite: "-", SelfTest: "unavailable"}}, nil
	}
	for _, suite := range b.Suites() {
		row, err := testSuite(ctx, b, suite)
		if err != nil {
			failed = err
		}
		rows = append(rows, row)
	}
	return rows, failed
}

func testSuite(ctx context.Context, b backends.Backend, suite format.Suite) (backendObject, error) {
	row := backendObject{Type: "backend", Name: b.Name(), Suite: suite.String(), SelfTest: "FAILED"}
	if err := selftest.Run(ctx, b, suite); err != nil {
		return row, err
	}
	row.SelfTest = "passed"
	var err error
	row.Seal, row.Open, err = selftest.Speed(ctx, b, suite, speedTime)
	return row, err
}

func perSecond(v float64) string {
	if v == 0 {
		return "-"
	}
	return byteCount(int64(v)) + "/s"
}

type versionObject struct {
	Type       string `json:"type"`
	Version    string `json:"version"`
	Revision   string `json:"revision,omitempty"`
	Go         string `json:"go"`
	Platform   string `json:"platform"`
	Compressor string `json:"compressor"`
	Format     int    `json:"container_version"`
}

func newVersion(u *ui) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := version()
			return u.print(v, fmt.Sprintf("coffer %s (%s, %s, %s, container version %d)", v.Version, v.Go, v.Platform, v.Compressor, v.Format))
		},
	}
}

// version is what the build knows of itself.
func version() versionObject {
	v := versionObject{"version", "devel", "", runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH, compressors()[0].library, format.Version}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Revision = s.Value
		}
	}
	return v
}
