package selftest

import "github.com/coffer-backup/coffer/format"

// A vector is a known answer. Its bytes are in hex.
type vector struct {
	name      string
	key       string
	nonce     string
	ad        string
	plaintext string
	repeat    int    // the message is plaintext this many times; 0: once
	sealed    string // ciphertext and tag; of long messages only the end
}

// The published vectors are shorter than the widest loops of fast
// implementations, so each suite has one as long as a package besides. Those
// were computed with OpenSSL 3.
var vectors = map[format.Suite][]vector{
	format.AES256GCM: {{
		name:   "GCM specification (McGrew, Viega), test case 13",
		key:    "0000000000000000000000000000000000000000000000000000000000000000",
		nonce:  "000000000000000000000000",
		sealed: "530f8afbc74536b9a963b4f1c4cb738b",
	}, {
		name:      "GCM specification (McGrew, Viega), test case 14",
		key:       "0000000000000000000000000000000000000000000000000000000000000000",
		nonce:     "000000000000000000000000",
		plaintext: "00000000000000000000000000000000",
		sealed:    "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919",
	}, {
		name:  "GCM specification (McGrew, Viega), test case 16",
		key:   "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
		nonce: "cafebabefacedbaddecaf888",
		ad:    "feedfacedeadbeeffeedfacedeadbeefabaddad2",
		plaintext: "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72" +
			"1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
		sealed: "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa" +
			"8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662" +
			"76fc6ece0f4e1768cddf8853bb2d551b",
	}, {
		name:      "message of 64 KiB",
		key:       "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
		nonce:     "000102030405060708090a0b",
		ad:        "2000ffff",
		plaintext: "000102030405060708090a0b0c0d0e0f",
		repeat:    4096,
		sealed:    "c1f030b2061d069ea8e2f77403091fc36d82bcf4e1d360a7ed3945d6804d5dac",
	}},
	format.ChaCha20Poly1305: {{
		name:  "RFC 8439, section 2.8.2",
		key:   "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
		nonce: "070000004041424344454647",
		ad:    "50515253c0c1c2c3c4c5c6c7",
		plaintext: "4c616469657320616e642047656e746c656d656e206f662074686520636c6173" +
			"73206f66202739393a204966204920636f756c64206f6666657220796f75206f" +
			"6e6c79206f6e652074697020666f7220746865206675747572652c2073756e73" +
			"637265656e20776f756c642062652069742e",
		sealed: "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6" +
			"3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36" +
			"92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc" +
			"3ff4def08e4b7a9de576d26586cec64b6116" +
			"1ae10b594f09e26a7e902ecbd0600691",
	}, {
		name:      "message of 64 KiB",
		key:       "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
		nonce:     "000102030405060708090a0b",
		ad:        "2001ffff",
		plaintext: "000102030405060708090a0b0c0d0e0f",
		repeat:    4096,
		sealed:    "774c609879f559ea84b6efaac9fcbef8df8450290507ffe4fcb7a3a0e8bb551f",
	}},
}
