package archive

import (
	"archive/tar"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// memberName is the name under which a root is stored, as tar has it: without
// what stands before the last "..", without a leading "/" and without "." parts.
// It is "" for the directory that names nothing itself, such as "." or "/".
func memberName(root string) string {
	var kept []string
	for part := range strings.SplitSeq(filepath.ToSlash(root[len(filepath.VolumeName(root)):]), "/") {
		switch part {
		case "", ".":
		case "..":
			kept = nil
		default:
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "/")
}

type root struct {
	path string // as the caller gave it
	name string // member name
}

// distinctRoots prepares roots for the walk: each file once, and a root within
// another one before it, so that a directory's own metadata come after all that
// is in it. Different files that would be stored under one name are an error.
func distinctRoots(paths []string) ([]root, error) {
	byName := make(map[string]root)
	var roots []root
	for _, p := range paths {
		if p == "" {
			return nil, errors.New("a path to archive is empty")
		}
		r := root{path: p, name: memberName(p)}
		if old, ok := byName[r.name]; !ok {
			byName[r.name] = r
			roots = append(roots, r)
		} else if !sameFile(old.path, p) {
			return nil, clash(old.path, r)
		}
	}
	nested, err := checkNesting(roots, byName)
	if err != nil {
		return nil, err
	}
	if nested {
		slices.SortStableFunc(roots, func(a, b root) int { return cmp.Compare(depth(b.name), depth(a.name)) })
	}
	return roots, nil
}

// checkNesting reports whether any root would be stored within another one, and
// demands that it lies there.
func checkNesting(roots []root, byName map[string]root) (nested bool, err error) {
	for _, r := range roots {
		for name := r.name; name != ""; {
			name = name[:max(0, strings.LastIndexByte(name, '/'))]
			outer, ok := byName[name]
			if !ok {
				continue
			}
			nested = true
			if err := checkWithin(outer, r); err != nil {
				return false, err
			}
		}
	}
	return nested, nil
}

// checkWithin demands that the walk of outer meets inner under its name, if it
// meets anything there. It goes down as the walk does: paths are never cleaned,
// as "link/.." may be anywhere.
func checkWithin(outer, inner root) error {
	at := outer.path
	for part := range strings.SplitSeq(strings.TrimPrefix(inner.name[len(outer.name):], "/"), "/") {
		if fi, err := os.Lstat(at); err == nil && !fi.IsDir() {
			return fmt.Errorf("%q is no directory, and %q would be stored below it: archive them separately", at, inner.path)
		}
		at += "/" + part
	}
	if _, err := os.Lstat(at); err == nil && !sameFile(at, inner.path) {
		return clash(at, inner)
	}
	return nil
}

func depth(name string) int {
	if name == "" {
		return 0
	}
	return 1 + strings.Count(name, "/")
}

func clash(other string, r root) error {
	return fmt.Errorf("%q and %q would both be stored as %q: archive them separately", other, r.path, r.name)
}

// sameFile reports whether both paths name one file, or are one path.
func sameFile(a, b string) bool {
	if a == b {
		return true
	}
	ai, aerr := os.Lstat(a)
	bi, berr := os.Lstat(b)
	return aerr == nil && berr == nil && os.SameFile(ai, bi)
}

// checkName judges a member name or the target of a hard link by the rules of
// § 7 and § 9: relative, in shortest form, within the limits.
func checkName(name string) error {
	if len(name) > MaxPath {
		return fmt.Errorf("%w: a name of %d bytes, over %d", ErrLimit, len(name), MaxPath)
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "" || part == "." || part == ".." || strings.IndexByte(part, 0) >= 0:
			return fmt.Errorf("%w: the name is not a plain relative one", ErrUnsafe)
		case os.PathSeparator != '/' && (!filepath.IsLocal(part) || strings.ContainsAny(part, `\:`)):
			return fmt.Errorf("%w: the name cannot be used on this system", ErrUnsafe)
		case len(part) > MaxPathPart:
			return fmt.Errorf("%w: a part of the name has %d bytes, over %d", ErrLimit, len(part), MaxPathPart)
		}
	}
	if d := depth(name); d > MaxDepth {
		return fmt.Errorf("%w: %d parts in the name, over %d", ErrLimit, d, MaxDepth)
	}
	return nil
}

// entryName is the name of h less the slash that ends a directory's, and "" for
// the top directory, which is stored as "./".
func entryName(h *tar.Header) string {
	if h.Typeflag != tar.TypeDir {
		return h.Name
	}
	if h.Name == topName {
		return ""
	}
	return strings.TrimSuffix(h.Name, "/")
}

const topName = "./"
