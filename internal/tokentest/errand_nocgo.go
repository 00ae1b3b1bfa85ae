//go:build !cgo

package tokentest

import "errors"

func (errand) do() error { return errors.New("keys are made in tokens by programs with cgo") }
