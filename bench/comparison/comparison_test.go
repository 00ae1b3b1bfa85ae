package comparison

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sample is made up: three rounds on chat of which the second is five times as slow,
// for all tools alike.
func sample(t *testing.T) (*Session, []byte) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "session.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	sessions, err := Parse(data)
	if err != nil || len(sessions) != 1 {
		t.Fatalf("%d sessions, %v", len(sessions), err)
	}
	return sessions[0], data
}

// TestParse: the lines have everything that Write writes, in its form.
func TestParse(t *testing.T) {
	s, data := sample(t)
	e := s.Environment
	if e.Date != "2026-11-24T10:00:00Z" || e.CPU != "AMD EPYC" || e.Cores != 2 || e.MemoryBytes != 24<<30 || e.OS != "linux/amd64" || e.Kernel != "6.1.0" ||
		e.Go != "go1.26.8" || e.Revision != "0123456789ab" || e.Storage != "tmpfs" || e.Versions["restic"] != "restic 0.14.0" || !slices.Equal(e.Missing, []string{"kopia"}) {
		t.Errorf("environment %+v", e)
	}
	want := Run{Task{"chat", 286e6, "coffer", "no-check", "backup"}, 2, 2.5, 1.5, 1 << 20, 510}
	if len(s.Runs) != 18 || s.Runs[7] != want {
		t.Errorf("%d runs, the eighth is %+v, want %+v", len(s.Runs), s.Runs[7], want)
	}

	var written bytes.Buffer
	if err := e.Write(&written); err != nil {
		t.Fatal(err)
	}
	for _, r := range s.Runs {
		if err := r.Write(&written); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(written.Bytes(), data) {
		t.Errorf("written is\n%s\nwant\n%s", &written, data)
	}

	sessions, err := Parse(slices.Concat(data, []byte("\n"), data))
	if err != nil || len(sessions) != 2 || !slices.Equal(sessions[1].Runs, s.Runs) {
		t.Errorf("two sessions in one file: %d, %v", len(sessions), err)
	}
}

func TestParseRejects(t *testing.T) {
	const environment = `{"type":"environment"}` + "\n"
	run := func(fields string) string {
		return environment + `{"type":"run","corpus":"chat","tool":"coffer",` + fields + "}\n"
	}
	for _, test := range []struct{ text, want string }{
		{"{", "line 1: unexpected end"},
		{run(`"do":"backup","size":1,"wall_s":1`)[:80], "line 2: unexpected end"},
		{`{"type":"result"}`, `line 1: unknown type "result"`},
		{environment + "\n" + `{"type":"benchmark"}`, `line 3: unknown type "benchmark"`},
		{`{"type":"environment","cores":"2"}`, "line 1: json: cannot unmarshal"},
		{`{"type":"run"}`, "line 1: a run before any environment"},
		{environment + `{"type":"run","size":1,"wall_s":1,"do":"backup"}`, "line 2: a run without corpus or tool"},
		{run(`"do":"verify","size":1,"wall_s":1`), `line 2: do is "verify"`},
		{run(`"do":"backup","size":0,"wall_s":1`), "line 2: size and wall_s must be positive"},
		{run(`"do":"backup","size":1,"wall_s":0`), "line 2: size and wall_s must be positive"},
		{run(`"do":"backup","size":1,"wall_s":1,"cpu_s":-1`), "line 2: a measurement is negative"},
		{run(`"do":"backup","size":1,"wall_s":1,"peak_bytes":-1`), "line 2: a measurement is negative"},
		{run(`"do":"backup","size":1,"wall_s":1,"output_bytes":-1`), "line 2: a measurement is negative"},
		{run(`"do":"backup","size":1,"wall_s":"1"`), "line 2: json: cannot unmarshal"},
	} {
		if _, err := Parse([]byte(test.text)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: error %v, want %q", test.text, err, test.want)
		}
	}
}
