module github.com/coffer-backup/coffer/engine/libzstd

go 1.26.0

require (
	github.com/DataDog/zstd v1.5.7
	github.com/cespare/xxhash/v2 v2.3.0
	github.com/coffer-backup/coffer v0.0.0
)

require (
	github.com/klauspost/compress v1.20.3 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/coffer-backup/coffer => ../..
