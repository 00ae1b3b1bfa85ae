package conformance

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/coffer-backup/coffer/vectors"
)

// A Report is what a command answered.
type Report struct {
	Results []Result // in the order of the manifest, and of the modes
}

// A Result is the answer to one case in one mode.
type Result struct {
	Case     *vectors.Case
	Mode     Mode
	Want     vectors.Class
	Got      vectors.Class // empty if the command gave none
	Released int           // bytes on stdout, read up to one more than allowed
	Err      error         // what is wrong, or nil
	Stderr   string        // the last 256 bytes of it
}

// Name is the case's file name, without folder and extension.
func (r Result) Name() string {
	return strings.TrimSuffix(path.Base(r.Case.File), path.Ext(r.Case.File))
}

// Area is the part of Name before the underscore: what the case is about.
func (r Result) Area() string {
	area, _, _ := strings.Cut(r.Name(), "_")
	return area
}

// String is one line: the case, what it shows, and what is wrong.
func (r Result) String() string {
	if r.Err == nil {
		return fmt.Sprintf("%s (%s): %s", r.Name(), r.Mode, r.Got)
	}
	line := fmt.Sprintf("%s (%s): %v [%s; § %s]", r.Name(), r.Mode, r.Err, r.Case.Comment, strings.Join(r.Case.Spec, ", § "))
	if r.Stderr != "" {
		line += ", stderr: " + quoteEnd(r.Stderr)
	}
	return line
}

// quoteEnd quotes as much of the end of s as takes maxStderr bytes.
func quoteEnd(s string) string {
	for len(strconv.Quote(s)) > maxStderr {
		s = s[1:]
	}
	return strconv.Quote(s)
}

// Failed returns the results that are wrong.
func (r *Report) Failed() (failed []Result) {
	for _, result := range r.Results {
		if result.Err != nil {
			failed = append(failed, result)
		}
	}
	return failed
}

// An Area sums up the results of one area.
type Area struct {
	Name   string
	Runs   int
	Failed int
}

// Areas sums up by area, in the order of the manifest.
func (r *Report) Areas() (areas []Area) {
	at := map[string]int{}
	for _, result := range r.Results {
		name := result.Area()
		i, ok := at[name]
		if !ok {
			i = len(areas)
			at[name] = i
			areas = append(areas, Area{Name: name})
		}
		areas[i].Runs++
		if result.Err != nil {
			areas[i].Failed++
		}
	}
	return areas
}
