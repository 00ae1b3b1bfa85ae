//go:build cgo && !unix

package pkcs11

// functions are those of a library. Here the binding makes all calls.
type functions struct{}

// load leaves it to the binding, which gives no reason, to load the library at path.
func load(path string) (functions, error) { return functions{}, nil }

// gcm seals in to out, or opens it, by the binding. begun tells which of two calls
// failed, of which the binding's error names one.
func (s *session) gcm(open bool, key object, iv, ad, in, out []byte) (_ []byte, begun bool, err error) {
	crypt := s.seal
	if open {
		crypt = s.open
	}
	got, err := crypt(key, iv, ad, in)
	return append(out[:0], got...), true, err
}
