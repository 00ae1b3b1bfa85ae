module github.com/coffer-backup/coffer/vectors/interop

go 1.26.0

require (
	github.com/SaveTheRbtz/zstd-seekable-format-go/pkg v0.10.0
	github.com/cloudflare/circl v1.6.5
	github.com/coffer-backup/coffer v0.0.0
	github.com/klauspost/compress v1.20.3
	github.com/minio/sio v0.4.1
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sync v0.20.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/coffer-backup/coffer => ../..
