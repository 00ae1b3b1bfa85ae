package evaluator

import "errors"

// ErrPoint is wrapped by errors about bytes that are no point of P-256, or the identity.
var ErrPoint = errors.New("evaluator: not a point of P-256")
