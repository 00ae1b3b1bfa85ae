//go:build race

package pkcs11_test

const raceEnabled = true
