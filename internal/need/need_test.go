package need

import (
	"fmt"
	"runtime"
	"testing"
)

// fakeT records how a test would have ended.
type fakeT struct {
	testing.TB
	outcome string
}

func (f *fakeT) Helper() {}

func (f *fakeT) Skip(args ...any) {
	f.outcome = "skip: " + fmt.Sprint(args...)
	runtime.Goexit()
}

func (f *fakeT) Fatalf(format string, args ...any) {
	f.outcome = "fail: " + fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func outcome(do func(t testing.TB)) string {
	f := &fakeT{outcome: "run"}
	done := make(chan struct{})
	go func() {
		defer close(done)
		do(f)
	}()
	<-done
	return f.outcome
}

func TestOutcomes(t *testing.T) {
	absent := func(t testing.TB) { Command(t, "no-such-program", "apt-get install it") }
	present := func(t testing.TB) { Command(t, "go", "it runs this test") }
	for _, c := range []struct {
		ci   string
		do   func(testing.TB)
		want string
	}{
		{"", present, "run"},
		{"true", present, "run"},
		{"", absent, "skip: needs the program no-such-program: apt-get install it"},
		{"true", absent, "fail: CI must not skip this test: needs the program no-such-program: apt-get install it"},
	} {
		t.Setenv("CI", c.ci)
		if got := outcome(c.do); got != c.want {
			t.Errorf("CI=%q: %s, want %s", c.ci, got, c.want)
		}
	}
}
