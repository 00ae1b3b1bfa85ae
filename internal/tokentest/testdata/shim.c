// A PKCS#11 module that hands every call on to MODULE, after writing its name to CALLS,
// and that fails as the rules in the file FAULTS say (see ShimModule.Set).

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkcs11go.h"

struct rule {
	char on[32], what[48], arg[32];
	CK_ULONG number; // of what, if it is a code or a mechanism
	long left;       // how often it holds; negative: always
	int until_initialize;
};

static CK_FUNCTION_LIST *real, list;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char text[4096];
static struct rule rules[64];
static int count;
static unsigned generation;

static const struct {
	const char *name;
	CK_RV rv;
} codes[] = {
#define CODE(name) {#name, CKR_##name}
	CODE(HOST_MEMORY), CODE(SLOT_ID_INVALID), CODE(GENERAL_ERROR), CODE(FUNCTION_FAILED),
	CODE(ARGUMENTS_BAD), CODE(ATTRIBUTE_SENSITIVE), CODE(ATTRIBUTE_VALUE_INVALID),
	CODE(DATA_INVALID), CODE(DATA_LEN_RANGE), CODE(DEVICE_ERROR), CODE(DEVICE_MEMORY),
	CODE(DEVICE_REMOVED), CODE(ENCRYPTED_DATA_INVALID), CODE(FUNCTION_CANCELED),
	CODE(FUNCTION_NOT_SUPPORTED), CODE(KEY_HANDLE_INVALID), CODE(KEY_FUNCTION_NOT_PERMITTED),
	CODE(MECHANISM_INVALID), CODE(OBJECT_HANDLE_INVALID), CODE(OPERATION_ACTIVE),
	CODE(OPERATION_NOT_INITIALIZED), CODE(PIN_INCORRECT), CODE(PIN_EXPIRED), CODE(PIN_LOCKED),
	CODE(SESSION_CLOSED), CODE(SESSION_COUNT), CODE(SESSION_HANDLE_INVALID),
	CODE(TEMPLATE_INCONSISTENT), CODE(TOKEN_NOT_PRESENT), CODE(TOKEN_NOT_RECOGNIZED),
	CODE(USER_ALREADY_LOGGED_IN), CODE(USER_NOT_LOGGED_IN), CODE(BUFFER_TOO_SMALL),
	CODE(CRYPTOKI_NOT_INITIALIZED),
};

// parse reads one line of FAULTS. A line that it does not know would make a test pass
// that tests nothing.
static void parse(const char *line)
{
	static const char *const words[] = {"hang", "abort", "short", "replace-iv", "other-iv", "max", "hide", "as"};
	struct rule r = {.left = -1};
	char *end;
	int n;

	if (line[0] == '#')
		return;
	n = sscanf(line, "%31s %47s %31s", r.on, r.what, r.arg);
	if (n < 2 || count == sizeof rules / sizeof *rules)
		goto bad;
	if (strcmp(r.on, "mech") == 0) {
		char mech[48];
		if (sscanf(line, "mech %47s %47s %31s", mech, r.what, r.arg) < 2)
			goto bad;
		r.number = strtoul(mech, &end, 0);
	} else if (n == 3 && strcmp(r.arg, "until-initialize") == 0) {
		r.until_initialize = 1;
	} else if (n == 3 && strcmp(r.what, "max") != 0) {
		r.left = strtol(r.arg, &end, 0);
	}
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (strcmp(r.what, words[i]) == 0)
			goto good;
	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
		if (strcmp(r.what, codes[i].name) == 0) {
			r.number = codes[i].rv;
			goto good;
		}
	r.number = strtoul(r.what, &end, 0);
	if (r.number == 0 || *end != 0)
		goto bad;
good:
	rules[count++] = r;
	return;
bad:
	fprintf(stderr, "shim: bad line %s\n", line);
	abort();
}

// reload reads FAULTS if its text is another one.
static void reload(void)
{
	char now[sizeof text] = "";
	FILE *f = fopen(FAULTS, "r");

	if (f != NULL) {
		now[fread(now, 1, sizeof now - 1, f)] = 0;
		fclose(f);
	}
	if (strcmp(now, text) == 0)
		return;
	strcpy(text, now);
	generation++;
	count = 0;
	for (char *rest = now, *line; (line = strtok_r(rest, "\n", &rest)) != NULL;)
		parse(line);
}

// take finds a rule on fn and counts that it was used. special chooses among rules of
// that effect, NULL among those for every function.
static int take(const char *fn, const char *special, struct rule *out)
{
	int lifecycle = strcmp(fn, "C_Initialize") == 0 || strcmp(fn, "C_Finalize") == 0;
	int found = 0;

	pthread_mutex_lock(&lock);
	reload();
	for (int i = 0; i < count && !found; i++) {
		struct rule *r = &rules[i];
		int any = strcmp(r->on, "*") == 0 && !lifecycle;
		int general = r->number != 0 || strcmp(r->what, "hang") == 0 || strcmp(r->what, "abort") == 0;
		if (r->left == 0 || !(any || strcmp(r->on, fn) == 0))
			continue;
		if (special == NULL ? !general : strcmp(r->what, special) != 0)
			continue;
		if (r->left > 0)
			r->left--;
		*out = *r;
		found = 1;
	}
	pthread_mutex_unlock(&lock);
	return found;
}

static unsigned current(void)
{
	pthread_mutex_lock(&lock);
	reload();
	unsigned g = generation;
	pthread_mutex_unlock(&lock);
	return g;
}

// enter counts a call and returns what it fails with.
static CK_RV enter(const char *fn)
{
	struct rule r;
	FILE *f = fopen(CALLS, "a");

	if (f != NULL) {
		fprintf(f, "%s\n", fn);
		fclose(f);
	}
	if (!take(fn, NULL, &r))
		return CKR_OK;
	if (strcmp(r.what, "abort") == 0)
		abort();
	if (strcmp(r.what, "hang") == 0) {
		for (unsigned g = current(); current() == g;)
			usleep(2000);
		return CKR_OK;
	}
	return r.number;
}

// mechanism applies the rules on mechanisms.
static CK_RV mechanism(CK_MECHANISM *m)
{
	CK_RV rv = CKR_OK;

	pthread_mutex_lock(&lock);
	reload();
	for (int i = 0; i < count; i++) {
		if (strcmp(rules[i].on, "mech") != 0 || rules[i].number != m->mechanism)
			continue;
		if (strcmp(rules[i].what, "hide") == 0)
			rv = CKR_MECHANISM_INVALID;
		else
			m->mechanism = strtoul(rules[i].arg, NULL, 0);
		break;
	}
	pthread_mutex_unlock(&lock);
	return rv;
}

#define ENTER(fn) \
	do { \
		CK_RV enter_rv = enter(#fn); \
		if (enter_rv != CKR_OK) \
			return enter_rv; \
	} while (0)

#define MECHANISM(m) \
	CK_MECHANISM copy = *(m); \
	do { \
		CK_RV mech_rv = mechanism(&copy); \
		if (mech_rv != CKR_OK) \
			return mech_rv; \
	} while (0)

#define PASS(fn, params, args) \
	static CK_RV my_##fn params \
	{ \
		ENTER(fn); \
		return real->fn args; \
	}

// shortened takes one byte off an output.
static void shortened(const char *fn, CK_RV rv, void *out, CK_ULONG *n)
{
	struct rule r;

	if (rv == CKR_OK && out != NULL && *n > 0 && take(fn, "short", &r))
		--*n;
}

PASS(C_Finalize, (CK_VOID_PTR p), (p))
PASS(C_GetInfo, (CK_INFO * i), (i))
PASS(C_GetSlotList, (CK_BBOOL present, CK_SLOT_ID *s, CK_ULONG *n), (present, s, n))
PASS(C_GetSlotInfo, (CK_SLOT_ID s, CK_SLOT_INFO *i), (s, i))
PASS(C_GetTokenInfo, (CK_SLOT_ID s, CK_TOKEN_INFO *i), (s, i))
PASS(C_OpenSession, (CK_SLOT_ID s, CK_FLAGS f, void *a, CK_NOTIFY n, CK_SESSION_HANDLE *h), (s, f, a, n, h))
PASS(C_CloseSession, (CK_SESSION_HANDLE h), (h))
PASS(C_CloseAllSessions, (CK_SLOT_ID s), (s))
PASS(C_GetSessionInfo, (CK_SESSION_HANDLE h, CK_SESSION_INFO *i), (h, i))
PASS(C_Login, (CK_SESSION_HANDLE h, CK_USER_TYPE u, CK_BYTE *p, CK_ULONG n), (h, u, p, n))
PASS(C_Logout, (CK_SESSION_HANDLE h), (h))
PASS(C_CreateObject, (CK_SESSION_HANDLE h, CK_ATTRIBUTE *a, CK_ULONG n, CK_OBJECT_HANDLE *o), (h, a, n, o))
PASS(C_CopyObject, (CK_SESSION_HANDLE h, CK_OBJECT_HANDLE o, CK_ATTRIBUTE *a, CK_ULONG n, CK_OBJECT_HANDLE *c), (h, o, a, n, c))
PASS(C_DestroyObject, (CK_SESSION_HANDLE h, CK_OBJECT_HANDLE o), (h, o))
PASS(C_FindObjectsInit, (CK_SESSION_HANDLE h, CK_ATTRIBUTE *a, CK_ULONG n), (h, a, n))
PASS(C_FindObjects, (CK_SESSION_HANDLE h, CK_OBJECT_HANDLE *o, CK_ULONG max, CK_ULONG *n), (h, o, max, n))
PASS(C_FindObjectsFinal, (CK_SESSION_HANDLE h), (h))

static CK_RV my_C_Initialize(CK_VOID_PTR args)
{
	CK_RV rv;

	ENTER(C_Initialize);
	rv = real->C_Initialize(args);
	pthread_mutex_lock(&lock);
	for (int i = 0; rv == CKR_OK && i < count; i++)
		if (rules[i].until_initialize)
			rules[i].left = 0;
	pthread_mutex_unlock(&lock);
	return rv;
}

static CK_RV my_C_GetAttributeValue(CK_SESSION_HANDLE h, CK_OBJECT_HANDLE o, CK_ATTRIBUTE *a, CK_ULONG n)
{
	CK_RV rv;

	ENTER(C_GetAttributeValue);
	rv = real->C_GetAttributeValue(h, o, a, n);
	for (CK_ULONG i = 0; i < n; i++)
		if (a[i].type == CKA_VALUE)
			shortened("C_GetAttributeValue", rv, a[i].pValue, &a[i].ulValueLen);
	return rv;
}

static CK_RV my_C_EncryptInit(CK_SESSION_HANDLE h, CK_MECHANISM *m, CK_OBJECT_HANDLE k)
{
	struct rule r;

	ENTER(C_EncryptInit);
	MECHANISM(m);
	if (m->mechanism == CKM_AES_GCM) {
		CK_GCM_PARAMS *given = m->pParameter, other = *given;
		unsigned char iv[256];
		// A token that makes the IV itself writes it to where the caller's was.
		if (take("C_EncryptInit", "replace-iv", &r))
			given->pIv[0] ^= 0xff;
		if (take("C_EncryptInit", "other-iv", &r) && given->ulIvLen <= sizeof iv) {
			memcpy(iv, given->pIv, given->ulIvLen);
			iv[0] ^= 0xff;
			other.pIv = iv;
			copy.pParameter = &other;
			return real->C_EncryptInit(h, &copy, k);
		}
	}
	return real->C_EncryptInit(h, &copy, k);
}

static CK_RV my_C_Encrypt(CK_SESSION_HANDLE h, CK_BYTE *in, CK_ULONG n, CK_BYTE *out, CK_ULONG *outn)
{
	struct rule r;
	CK_RV rv;

	ENTER(C_Encrypt);
	if (take("C_Encrypt", "max", &r) && n > strtoul(r.arg, NULL, 0))
		return CKR_DATA_LEN_RANGE;
	rv = real->C_Encrypt(h, in, n, out, outn);
	shortened("C_Encrypt", rv, out, outn);
	return rv;
}

static CK_RV my_C_DecryptInit(CK_SESSION_HANDLE h, CK_MECHANISM *m, CK_OBJECT_HANDLE k)
{
	ENTER(C_DecryptInit);
	MECHANISM(m);
	return real->C_DecryptInit(h, &copy, k);
}

static CK_RV my_C_Decrypt(CK_SESSION_HANDLE h, CK_BYTE *in, CK_ULONG n, CK_BYTE *out, CK_ULONG *outn)
{
	struct rule r;
	CK_RV rv;

	ENTER(C_Decrypt);
	if (take("C_Decrypt", "max", &r) && n > strtoul(r.arg, NULL, 0))
		return CKR_GENERAL_ERROR;
	rv = real->C_Decrypt(h, in, n, out, outn);
	shortened("C_Decrypt", rv, out, outn);
	return rv;
}

static CK_RV my_C_GenerateKey(CK_SESSION_HANDLE h, CK_MECHANISM *m, CK_ATTRIBUTE *a, CK_ULONG n, CK_OBJECT_HANDLE *o)
{
	ENTER(C_GenerateKey);
	MECHANISM(m);
	return real->C_GenerateKey(h, &copy, a, n, o);
}

static CK_RV my_C_GenerateKeyPair(CK_SESSION_HANDLE h, CK_MECHANISM *m, CK_ATTRIBUTE *pub, CK_ULONG pubn,
				  CK_ATTRIBUTE *prv, CK_ULONG prvn, CK_OBJECT_HANDLE *p, CK_OBJECT_HANDLE *q)
{
	ENTER(C_GenerateKeyPair);
	MECHANISM(m);
	return real->C_GenerateKeyPair(h, &copy, pub, pubn, prv, prvn, p, q);
}

static CK_RV my_C_WrapKey(CK_SESSION_HANDLE h, CK_MECHANISM *m, CK_OBJECT_HANDLE w, CK_OBJECT_HANDLE k,
			  CK_BYTE *out, CK_ULONG *outn)
{
	CK_RV rv;

	ENTER(C_WrapKey);
	MECHANISM(m);
	rv = real->C_WrapKey(h, &copy, w, k, out, outn);
	shortened("C_WrapKey", rv, out, outn);
	return rv;
}

static CK_RV my_C_UnwrapKey(CK_SESSION_HANDLE h, CK_MECHANISM *m, CK_OBJECT_HANDLE w, CK_BYTE *in, CK_ULONG n,
			    CK_ATTRIBUTE *a, CK_ULONG an, CK_OBJECT_HANDLE *k)
{
	ENTER(C_UnwrapKey);
	MECHANISM(m);
	return real->C_UnwrapKey(h, &copy, w, in, n, a, an, k);
}

static CK_RV my_C_DeriveKey(CK_SESSION_HANDLE h, CK_MECHANISM *m, CK_OBJECT_HANDLE b, CK_ATTRIBUTE *a, CK_ULONG n,
			    CK_OBJECT_HANDLE *k)
{
	ENTER(C_DeriveKey);
	MECHANISM(m);
	return real->C_DeriveKey(h, &copy, b, a, n, k);
}

static CK_RV my_C_SignInit(CK_SESSION_HANDLE h, CK_MECHANISM *m, CK_OBJECT_HANDLE k)
{
	ENTER(C_SignInit);
	MECHANISM(m);
	return real->C_SignInit(h, &copy, k);
}

static CK_RV my_C_Sign(CK_SESSION_HANDLE h, CK_BYTE *in, CK_ULONG n, CK_BYTE *out, CK_ULONG *outn)
{
	CK_RV rv;

	ENTER(C_Sign);
	rv = real->C_Sign(h, in, n, out, outn);
	shortened("C_Sign", rv, out, outn);
	return rv;
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR out)
{
	void *handle = dlopen(MODULE, RTLD_NOW | RTLD_LOCAL);
	CK_C_GetFunctionList get = handle == NULL ? NULL : (CK_C_GetFunctionList)dlsym(handle, "C_GetFunctionList");

	if (get == NULL || get(&real) != CKR_OK) {
		fprintf(stderr, "shim: %s\n", dlerror());
		return CKR_GENERAL_ERROR;
	}
	list = *real;
#define SET(fn) list.fn = my_##fn
	SET(C_Initialize);
	SET(C_Finalize);
	SET(C_GetInfo);
	SET(C_GetSlotList);
	SET(C_GetSlotInfo);
	SET(C_GetTokenInfo);
	SET(C_OpenSession);
	SET(C_CloseSession);
	SET(C_CloseAllSessions);
	SET(C_GetSessionInfo);
	SET(C_Login);
	SET(C_Logout);
	SET(C_CreateObject);
	SET(C_DestroyObject);
	SET(C_GetAttributeValue);
	SET(C_FindObjectsInit);
	SET(C_FindObjects);
	SET(C_FindObjectsFinal);
	SET(C_EncryptInit);
	SET(C_Encrypt);
	SET(C_DecryptInit);
	SET(C_Decrypt);
	SET(C_GenerateKey);
	SET(C_GenerateKeyPair);
	SET(C_WrapKey);
	SET(C_UnwrapKey);
	SET(C_CopyObject);
	SET(C_DeriveKey);
	SET(C_SignInit);
	SET(C_Sign);
	*out = &list;
	return CKR_OK;
}
