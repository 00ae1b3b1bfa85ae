// Package sample has a check of every kind that the finder knows, for its tests.
package sample

import (
	"errors"
	"fmt"
	"strconv"
)

var errOdd = errors.New("odd")

type cursor struct{ err error }

func (c *cursor) fail(reason string) { c.err = errors.New(reason) }

// judge has an || to split, and a part of an && that it must not.
func judge(n int, strict bool) error {
	if n < 0 || n > 9 || strict && n%2 != 0 {
		return errOdd
	}
	return nil
}

// use passes on a verdict, which is a check, and an error of others, which is not.
func use(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, err
	}
	if err := judge(n, false); err != nil {
		return 0, fmt.Errorf("judging: %w", err)
	}
	return n, nil
}

// accepts is split at its &&, and in the ! of a parenthesis at the ||.
func accepts(a, b, c bool) bool { return a && !(b || c) }

// either is split at the && below its ||, and what is no verdict not at all.
func either(a, b, c bool) (ok bool) {
	ok = a && b || c
	if equal := a == b; equal {
		return ok
	}
	return ok
}

func (c *cursor) switches(kind byte, list []int) (sum int) {
	switch {
	case kind == 1:
		sum++
	case kind > 7, kind == 0:
		c.fail("kind")
	}
	switch kind {
	case 2:
	default:
		c.fail("no known kind")
	}
	for _, n := range list {
		if n == 0 {
			continue
		}
		sum += n
	}
	return sum
}

// closures have verdicts too, and what rejects always may have any name.
func closures(n int) (int, error) {
	refuse := func(reason string) (int, error) { return 0, errors.New(reason) }
	small := func() bool { return n < 5 }
	if !small() {
		return refuse("large")
	}
	var err error
	if n == 3 {
		err = errOdd
	}
	if err != nil {
		err = fmt.Errorf("in its place: %w", err)
	}
	return n, err
}

// endless is what a reader without its limit is.
func endless() error {
	for n := 0; ; n++ {
		if n == 1000 {
			return errOdd
		}
	}
}

// last ends in a switch, whose default cannot go into an if.
func last(n int) error {
	switch n {
	case 1:
		return nil
	default:
		return errOdd
	}
}
