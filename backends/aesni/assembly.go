//go:build !purego

package aesni

const pureGo = false
