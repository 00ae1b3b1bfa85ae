// rate MODULE LABEL PIN seal|open SESSIONS MESSAGES: seals or opens so many messages of
// 64 KiB in each session by AES-256-GCM, a thread a session, and prints the nanoseconds
// that took.

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pkcs11go.h"

enum { message = 65536, tag = 16, most = 64 };

static CK_FUNCTION_LIST *p;
static CK_SLOT_ID slot;
static int opening;
static long messages;
static pthread_barrier_t start;

static void check(const char *what, CK_RV rv)
{
	if (rv != CKR_OK) {
		fprintf(stderr, "%s: CKR %#lx\n", what, rv);
		exit(1);
	}
}

static CK_ULONG call(CK_SESSION_HANDLE h, CK_OBJECT_HANDLE key, int open, CK_BYTE *in, CK_ULONG n, CK_BYTE *out)
{
	CK_BYTE iv[12] = {0}, ad[4] = {0};
	CK_GCM_PARAMS gcm = {iv, sizeof iv, 8 * sizeof iv, ad, sizeof ad, 8 * tag};
	CK_MECHANISM m = {CKM_AES_GCM, &gcm, sizeof gcm};
	CK_ULONG outn = message + tag;

	if (open) {
		check("C_DecryptInit", p->C_DecryptInit(h, &m, key));
		check("C_Decrypt", p->C_Decrypt(h, in, n, out, &outn));
	} else {
		check("C_EncryptInit", p->C_EncryptInit(h, &m, key));
		check("C_Encrypt", p->C_Encrypt(h, in, n, out, &outn));
	}
	return outn;
}

static void *work(void *arg)
{
	CK_SESSION_HANDLE h = *(CK_SESSION_HANDLE *)arg;
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	CK_KEY_TYPE type = CKK_AES;
	CK_BBOOL yes = CK_TRUE;
	CK_BYTE value[32] = {0};
	CK_ATTRIBUTE template[] = {
		{CKA_CLASS, &class, sizeof class}, {CKA_KEY_TYPE, &type, sizeof type},
		{CKA_VALUE, value, sizeof value}, {CKA_ENCRYPT, &yes, sizeof yes}, {CKA_DECRYPT, &yes, sizeof yes},
	};
	CK_OBJECT_HANDLE key;
	CK_BYTE *in = calloc(1, message + tag), *out = calloc(1, message + tag);
	CK_ULONG n = message;

	check("C_CreateObject", p->C_CreateObject(h, template, sizeof template / sizeof *template, &key));
	if (opening) {
		CK_BYTE *sealed = calloc(1, message + tag);
		n = call(h, key, 0, in, message, sealed);
		in = sealed;
	}
	pthread_barrier_wait(&start);
	for (long i = 0; i < messages; i++)
		call(h, key, opening, in, n, out);
	return NULL;
}

static void find(const char *label)
{
	CK_SLOT_ID slots[most];
	CK_TOKEN_INFO info;
	CK_ULONG n = most;

	check("C_GetSlotList", p->C_GetSlotList(CK_TRUE, slots, &n));
	for (CK_ULONG i = 0; i < n; i++) {
		check("C_GetTokenInfo", p->C_GetTokenInfo(slots[i], &info));
		if (strncmp((char *)info.label, label, strlen(label)) == 0) {
			slot = slots[i];
			return;
		}
	}
	fprintf(stderr, "there is no token %s\n", label);
	exit(1);
}

int main(int argc, char **argv)
{
	CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK};
	CK_SESSION_HANDLE sessions[most];
	pthread_t threads[most];
	struct timespec from, to;
	void *handle = argc == 7 ? dlopen(argv[1], RTLD_NOW) : NULL;
	CK_C_GetFunctionList get = handle == NULL ? NULL : (CK_C_GetFunctionList)dlsym(handle, "C_GetFunctionList");
	int n;

	if (get == NULL || (n = atoi(argv[5])) < 1 || n > most) {
		fprintf(stderr, "usage: rate MODULE LABEL PIN seal|open SESSIONS MESSAGES\n");
		return 2;
	}
	opening = strcmp(argv[4], "open") == 0;
	messages = atol(argv[6]);
	check("C_GetFunctionList", get(&p));
	check("C_Initialize", p->C_Initialize(&args));
	find(argv[2]);
	pthread_barrier_init(&start, NULL, n + 1);
	for (int i = 0; i < n; i++)
		check("C_OpenSession", p->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &sessions[i]));
	check("C_Login", p->C_Login(sessions[0], CKU_USER, (CK_BYTE *)argv[3], strlen(argv[3])));
	for (int i = 0; i < n; i++)
		pthread_create(&threads[i], NULL, work, &sessions[i]);
	pthread_barrier_wait(&start);
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	clock_gettime(CLOCK_MONOTONIC, &to);
	printf("%lld\n", (to.tv_sec - from.tv_sec) * 1000000000LL + to.tv_nsec - from.tv_nsec);
	return 0;
}
