package archivetest

import "testing"

func populateSpecial(testing.TB, int) {}
