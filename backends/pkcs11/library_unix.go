//go:build cgo && unix

package pkcs11

/*
#cgo linux freebsd LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

typedef unsigned long ulong_t;
typedef ulong_t (*init_fn)(ulong_t session, void *mechanism, ulong_t key);
typedef ulong_t (*crypt_fn)(ulong_t session, unsigned char *in, ulong_t inlen, unsigned char *out, ulong_t *outlen);

// functions is CK_FUNCTION_LIST, by position.
struct functions {
	unsigned char version[2];
	void (*at[68])(void);
};

enum { ENCRYPT_INIT = 29, ENCRYPT = 30, DECRYPT_INIT = 33, DECRYPT = 34, CKM_AES_GCM = 0x1087 };

// load loads a library for good and returns its functions, or NULL and writes why not.
// dlerror is of the thread, so it is asked here.
static struct functions *load(const char *path, char *why, size_t size)
{
	struct functions *list = NULL;
	ulong_t (*get)(struct functions **), rv;
	void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (lib == NULL) {
		const char *reason = dlerror();
		snprintf(why, size, "%s", reason ? reason : "dlopen failed");
		return NULL;
	}
	*(void **)&get = dlsym(lib, "C_GetFunctionList");
	if (get == NULL) {
		snprintf(why, size, "it is no PKCS#11 module: it has no C_GetFunctionList");
		dlclose(lib);
		return NULL;
	}
	rv = get(&list);
	if (rv != 0 || list == NULL) {
		snprintf(why, size, "C_GetFunctionList failed with 0x%lx", rv);
		return NULL;
	}
	return list;
}

// gcm seals or opens one message with a tag of 16 bytes. It sets *begun if the first of
// the two calls succeeded. A token that has an IV of its own writes it to iv.
static ulong_t gcm(struct functions *list, int open, ulong_t session, ulong_t key, unsigned char *iv,
	unsigned char *ad, ulong_t adlen, unsigned char *in, ulong_t inlen, unsigned char *out, ulong_t *outlen, int *begun)
{
	struct {
		unsigned char *iv;
		ulong_t ivlen, ivbits;
		unsigned char *ad;
		ulong_t adlen, tagbits;
	} params = {iv, 12, 96, adlen ? ad : NULL, adlen, 128};
	struct {
		ulong_t mechanism;
		void *params;
		ulong_t len;
	} mechanism = {CKM_AES_GCM, &params, sizeof params};
	ulong_t rv = ((init_fn)list->at[open ? DECRYPT_INIT : ENCRYPT_INIT])(session, &mechanism, key);
	*begun = rv == 0;
	if (rv != 0)
		return rv;
	return ((crypt_fn)list->at[open ? DECRYPT : ENCRYPT])(session, in, inlen, out, outlen);
}
*/
import "C"

import (
	"errors"
	"strings"
	"unsafe"

	p11 "github.com/miekg/pkcs11"
)

// functions are those of a library, for the calls that the binding makes too slowly.
type functions = *C.struct_functions

// load loads the library at path, or says why the system's loader does not. It is never
// unloaded: libraries have threads and handlers that would outlive their code.
func load(path string) (functions, error) {
	const size = 1024
	cPath, why := C.CString(path), (*C.char)(C.calloc(1, size))
	defer C.free(unsafe.Pointer(cPath))
	defer C.free(unsafe.Pointer(why))
	list := C.load(cPath, why, size)
	if list == nil {
		return nil, errors.New(strings.ToValidUTF8(C.GoString(why), "?"))
	}
	return list, nil
}

// gcm seals in to out, or opens it; out has the capacity for that, and more than none.
// What comes back in iv is what the token used. begun tells which of two calls failed.
//
// The binding takes more than twice the time (measured with messages of 64 KiB on
// SoftHSM): it makes each call twice, and for the second one takes memory from malloc,
// which the system has to clear time and again.
func (s *session) gcm(open bool, key object, iv, ad, in, out []byte) (_ []byte, begun bool, err error) {
	var cOpen, cBegun C.int
	if open {
		cOpen = 1
	}
	n := C.ulong_t(cap(out))
	rv := C.gcm(s.token.module.functions, cOpen, C.ulong_t(s.handle), C.ulong_t(key), first(iv),
		first(ad), C.ulong_t(len(ad)), first(in), C.ulong_t(len(in)), first(out[:1]), &n, &cBegun)
	if rv != 0 {
		return nil, cBegun != 0, p11.Error(rv)
	}
	if n > C.ulong_t(cap(out)) {
		n = 0 // no length that anybody asked for
	}
	return out[:n], true, nil
}

// first returns where b begins; of an empty one somewhere, as tokens dislike NULL.
func first(b []byte) *C.uchar {
	if len(b) == 0 {
		b = []byte{0}
	}
	return (*C.uchar)(unsafe.Pointer(&b[0]))
}
