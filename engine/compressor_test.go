package engine_test

import (
	"testing"

	"github.com/coffer-backup/coffer/engine"
	"github.com/coffer-backup/coffer/engine/compressortest"
)

func TestCompressor(t *testing.T) { compressortest.Run(t, engine.NewCompressor) }

func FuzzFrame(f *testing.F) { compressortest.Fuzz(f, engine.NewCompressor) }
