/*
 * A stand-in for libibverbs and an RDMA adapter, for tests: it has the entry points and the structure layouts
 * of the installed infiniband/verbs.h, and moves the bytes of sends through files that are mapped by both
 * processes (or twice by one). It is stricter than hardware: what the specification forbids is refused and
 * counted as misuse. What goes wrong, and when, is set by name: standin_set, or the environment of a
 * process. Not for measuring: a message is copied twice by processors, and nothing is in between.
 *
 * A queue pair is a file qp-NUMBER in the directory of the fabric. It holds a ring of messages that have
 * arrived, which its peer writes and it reads, and how many receives it has posted. A completion channel
 * is a datagram socket, so that the completion of one process can wake another.
 *
 * Two kinds of adapter: 0, reliable connections over Ethernet, as on Linux; 1, what is known of Thunderbolt
 * on macOS: unreliable connections only, a send and its receive of the same number of 4 KiB frames, no
 * receive before RTS, memory with every access right, no completion channels, 10 queue pairs, 100
 * registrations.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <infiniband/verbs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#undef ibv_get_device_list
#undef ibv_query_port
#undef ibv_reg_mr

/* What can be set and read by name. */
enum setting {
	/* set */
	THUNDERBOLT,	 /* 1: the second kind of adapter */
	DEVICES,	 /* how many there are, 0 to 2; the second has a port that is down */
	PORT_DOWN,	 /* 1: the first device's port is down too */
	NO_ADDRESS,	 /* 1: no GID is an address of this machine */
	UNREACHABLE,	 /* 1: queue pairs connect, but nothing arrives */
	MUTE,		 /* 1: sends neither arrive nor end */
	FAIL_SEND_IN,	 /* the send after so many ends with FAIL_STATUS */
	FAIL_RECEIVE_IN, /* the message received after so many does */
	FAIL_STATUS,
	LOSE_IN,	 /* the send after so many succeeds, and never arrives */
	FAIL_POLL_IN,	 /* the poll after so many fails */
	FULL,		 /* so many sends find the queue full */
	DELAY_US,	 /* completions come so much later */
	FAIL_OPEN, FAIL_PD, FAIL_MR, FAIL_CHANNEL, FAIL_CQ, FAIL_QP, FAIL_MODIFY, /* the verb fails with this errno */
	/* read */
	CONTEXTS, PDS, MRS, MRS_PEAK, CHANNELS, CQS, QPS,
	SENDS, NOT_READY, OVERFLOW, MISUSE,
	SETTINGS
};

static const char *names[SETTINGS] = {
	"thunderbolt", "devices", "port_down", "no_address", "unreachable", "mute", "fail_send_in", "fail_receive_in",
	"fail_status", "lose_in", "fail_poll_in", "full", "delay_us", "fail_open", "fail_pd", "fail_mr", "fail_channel", "fail_cq",
	"fail_qp", "fail_modify", "contexts", "pds", "mrs", "mrs_peak", "channels", "cqs", "qps", "sends", "not_ready",
	"overflow", "misuse",
};

static _Atomic long settings[SETTINGS];
static char fabric[64];

static long get(enum setting s) { return atomic_load(&settings[s]); }
static void add(enum setting s, long n) { atomic_fetch_add(&settings[s], n); }

/* countdown says that it is the turn of an event that was set to happen in so many; off is negative. */
static int countdown(enum setting s)
{
	long n = get(s);
	while (n >= 0)
		if (atomic_compare_exchange_weak(&settings[s], &n, n - 1))
			return n == 0;
	return 0;
}

static int misuse(int error)
{
	add(MISUSE, 1);
	return errno = error;
}

static int find(const char *name)
{
	for (int i = 0; i < SETTINGS; i++)
		if (!strcmp(names[i], name))
			return i;
	return -1;
}

int standin_set(const char *name, long value)
{
	int s = find(name);
	if (s < 0)
		return -1;
	atomic_store(&settings[s], value);
	return 0;
}

long standin_get(const char *name)
{
	int s = find(name);
	return s < 0 ? -1 : get(s);
}

/* standin_use takes a directory for the fabric, and forgets all that was set. */
int standin_use(const char *directory)
{
	if (strlen(directory) >= sizeof fabric)
		return -1;
	strcpy(fabric, directory);
	for (int s = 0; s < CONTEXTS; s++)
		atomic_store(&settings[s], 0);
	for (int s = SENDS; s < SETTINGS; s++)
		atomic_store(&settings[s], 0);
	atomic_store(&settings[MRS_PEAK], get(MRS));
	atomic_store(&settings[DEVICES], 2);
	atomic_store(&settings[FAIL_SEND_IN], -1);
	atomic_store(&settings[FAIL_RECEIVE_IN], -1);
	atomic_store(&settings[LOSE_IN], -1);
	atomic_store(&settings[FAIL_POLL_IN], -1);
	atomic_store(&settings[FAIL_STATUS], IBV_WC_GENERAL_ERR);
	return 0;
}

__attribute__((constructor)) static void begin(void)
{
	const char *directory = getenv("STANDIN_FABRIC"), *list = getenv("STANDIN");
	standin_use(directory ? directory : "/nonexistent");
	char *copy = strdup(list ? list : ""), *rest = copy, *item;
	while ((item = strsep(&rest, ","))) {
		char *value = strchr(item, '=');
		if (value) {
			*value++ = 0;
			standin_set(item, atol(value));
		}
	}
	free(copy);
}

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* ---- structures: the library's own, and behind them what the stand-in keeps ---- */

#define MESSAGE (72 << 10)
#define FRAME 4096
#define frames(n) (((n) + FRAME - 1) / FRAME)

struct message {
	uint32_t bytes, solicited;
	unsigned char data[MESSAGE];
};

enum { FORMING, READY, GONE };

/* A queue pair as both ends see it. */
struct wire {
	_Atomic uint32_t state;
	_Atomic uint32_t armed;	/* its completion queue wants an event: 1 at any completion, 2 at a solicited one or a failure */
	uint32_t peer, psn, type, mtu, capacity;
	uint64_t cq;		/* in the process that has it */
	_Atomic uint64_t posted, tail, head; /* receives posted; messages arrived, and taken */
	char channel[sizeof fabric + 32];
	struct message ring[];
};

struct context {
	struct ibv_context c;
	int device;
	long pds, channels, cqs;
};

struct pd {
	struct ibv_pd p;
	long users;
};

struct mr {
	struct ibv_mr m;
	int access;
	struct mr *next;
};

struct channel {
	struct ibv_comp_channel c;
	char path[sizeof fabric + 32];
	long cqs;
};

struct entry {
	struct ibv_wc wc;
	uint64_t due;
	struct qp *sender; /* whose send queue has room again when it is polled */
};

struct cq {
	struct ibv_cq c;
	pthread_mutex_t lock; /* guards its queue pairs too */
	struct entry *ring;
	unsigned head, length, capacity;
	unsigned events, acknowledged;
	struct qp *qps;
};

struct receive {
	uint64_t id;
	struct ibv_sge piece;
};

struct qp {
	struct ibv_qp q;
	struct wire *mine, *peer;
	size_t mine_bytes, peer_bytes;
	int mine_file, peer_file;
	char path[sizeof fabric + 32];
	struct receive *receives;
	unsigned first, posted, max_receives;
	unsigned sends, max_sends;
	uint32_t psn, mtu;
	int failed, unreachable;
	struct qp *next;
};

static pthread_mutex_t all = PTHREAD_MUTEX_INITIALIZER; /* guards the memory registrations */
static struct mr *mrs;

/* ---- events, at once or later ---- */

static int post_box(void)
{
	static _Atomic int box = -1;
	int fd = atomic_load(&box), none = -1;
	if (fd >= 0)
		return fd;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (!atomic_compare_exchange_strong(&box, &none, fd)) {
		close(fd);
		fd = none;
	}
	return fd;
}

/*
 * raise_event makes an event, if one was asked for. What it is about has to be there for all processors before
 * armed is read, and armed is written before they look for it: all four in one order (seq_cst), or each side
 * could miss the other's.
 */
static void raise_event(struct wire *w, int solicited)
{
	uint32_t armed = atomic_load(&w->armed);
	do
		if (!w->channel[0] || !armed || (armed == 2 && !solicited))
			return;
	while (!atomic_compare_exchange_weak(&w->armed, &armed, 0));
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	strncpy(to.sun_path, w->channel, sizeof to.sun_path - 1);
	uint64_t cq = w->cq;
	if (sendto(post_box(), &cq, sizeof cq, 0, (struct sockaddr *)&to, sizeof to) < 0 && errno != ENOENT && errno != ECONNREFUSED)
		add(OVERFLOW, 1); /* nobody closed the channel, and the event is lost */
}

struct alarm {
	uint64_t due;
	struct wire *w;
	int solicited;
};

static pthread_mutex_t clock_lock = PTHREAD_MUTEX_INITIALIZER;
static struct alarm alarms[4096];
static unsigned alarm_count;

static void *clock_thread(void *unused)
{
	for (;;) {
		usleep(20);
		pthread_mutex_lock(&clock_lock);
		uint64_t t = now();
		for (unsigned i = 0; i < alarm_count;)
			if (alarms[i].due <= t) {
				raise_event(alarms[i].w, alarms[i].solicited);
				alarms[i] = alarms[--alarm_count];
			} else
				i++;
		pthread_mutex_unlock(&clock_lock);
	}
	return unused;
}

static void start_clock(void)
{
	pthread_t thread;
	pthread_create(&thread, NULL, clock_thread, NULL);
	pthread_detach(thread);
}

static void raise_later(struct wire *w, int solicited, uint64_t due)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, start_clock);
	pthread_mutex_lock(&clock_lock);
	if (alarm_count < sizeof alarms / sizeof alarms[0])
		alarms[alarm_count++] = (struct alarm){due, w, solicited};
	else
		add(OVERFLOW, 1);
	pthread_mutex_unlock(&clock_lock);
}

static void forget_alarms(struct wire *w)
{
	pthread_mutex_lock(&clock_lock);
	for (unsigned i = 0; i < alarm_count;)
		if (alarms[i].w == w)
			alarms[i] = alarms[--alarm_count];
		else
			i++;
	pthread_mutex_unlock(&clock_lock);
}

/* ---- devices and ports ---- */

static struct ibv_device devices[2];

struct ibv_device **ibv_get_device_list(int *n)
{
	int count = get(DEVICES);
	struct ibv_device **list = calloc(count + 1, sizeof *list);
	for (int i = 0; i < count; i++) {
		snprintf(devices[i].name, sizeof devices[i].name, "standin%d", i);
		devices[i].node_type = IBV_NODE_CA;
		list[i] = &devices[i];
	}
	if (n)
		*n = count;
	return list;
}

void ibv_free_device_list(struct ibv_device **list) { free(list); }

const char *ibv_get_device_name(struct ibv_device *d) { return d->name; }

static int poll_cq(struct ibv_cq *, int, struct ibv_wc *);
static int req_notify_cq(struct ibv_cq *, int);
static int post_send(struct ibv_qp *, struct ibv_send_wr *, struct ibv_send_wr **);
static int post_recv(struct ibv_qp *, struct ibv_recv_wr *, struct ibv_recv_wr **);

/* failing says that the verb is set to fail, and sets errno. */
static int failing(enum setting s)
{
	if (!get(s))
		return 0;
	errno = get(s);
	return 1;
}

struct ibv_context *ibv_open_device(struct ibv_device *d)
{
	if (failing(FAIL_OPEN))
		return NULL;
	struct context *c = calloc(1, sizeof *c);
	c->device = d - devices;
	c->c.device = d;
	c->c.ops.poll_cq = poll_cq;
	c->c.ops.req_notify_cq = req_notify_cq;
	c->c.ops.post_send = post_send;
	c->c.ops.post_recv = post_recv;
	add(CONTEXTS, 1);
	return &c->c;
}

int ibv_close_device(struct ibv_context *c)
{
	struct context *ctx = (struct context *)c;
	if (ctx->pds || ctx->channels || ctx->cqs)
		return misuse(EBUSY);
	free(ctx);
	add(CONTEXTS, -1);
	return 0;
}

int ibv_query_device(struct ibv_context *c, struct ibv_device_attr *a)
{
	memset(a, 0, sizeof *a);
	strcpy(a->fw_ver, "stand-in");
	a->max_mr_size = 1ull << 32;
	a->max_qp = get(THUNDERBOLT) ? 11 : 1024;
	a->max_qp_wr = 4095;
	a->max_sge = 1;
	a->max_cqe = 8192;
	a->max_mr = get(THUNDERBOLT) ? 100 : 4096;
	a->phys_port_cnt = 1;
	return 0;
}

int ibv_query_port(struct ibv_context *c, uint8_t port, struct _compat_ibv_port_attr *compat)
{
	struct ibv_port_attr *a = (struct ibv_port_attr *)compat;
	struct context *ctx = (struct context *)c;
	if (port != 1)
		return misuse(EINVAL);
	memset(a, 0, offsetof(struct ibv_port_attr, flags));
	a->state = ctx->device || get(PORT_DOWN) ? IBV_PORT_DOWN : IBV_PORT_ACTIVE;
	a->max_mtu = IBV_MTU_4096;
	a->active_mtu = get(THUNDERBOLT) ? IBV_MTU_1024 : IBV_MTU_4096;
	a->gid_tbl_len = 4;
	a->max_msg_sz = MESSAGE;
	a->active_width = 2;
	a->active_speed = 32;
	a->link_layer = ctx->device ? IBV_LINK_LAYER_INFINIBAND : IBV_LINK_LAYER_ETHERNET;
	return 0;
}

/* The address of this machine comes twice, first as RoCE v1, as adapters list it; the last entry is empty. */
int ibv_query_gid(struct ibv_context *c, uint8_t port, int index, union ibv_gid *gid)
{
	if (port != 1 || index < 0 || index > 3)
		return misuse(EINVAL);
	memset(gid, 0, sizeof *gid);
	if (index == 3)
		return 0;
	if (index == 0) {
		gid->raw[0] = 0xfe;
		gid->raw[1] = 0x80;
		gid->raw[15] = 1;
		return 0;
	}
	gid->raw[10] = gid->raw[11] = 0xff;
	gid->raw[12] = get(NO_ADDRESS) ? 192 : 127;
	gid->raw[15] = 1;
	return 0;
}

int _ibv_query_gid_ex(struct ibv_context *c, uint32_t port, uint32_t index, struct ibv_gid_entry *e, uint32_t flags,
		      size_t size)
{
	if (get(THUNDERBOLT))
		return EOPNOTSUPP;
	if (size != sizeof *e || flags)
		return misuse(EINVAL);
	memset(e, 0, sizeof *e);
	if (index == 3)
		return ENODATA;
	e->gid_index = index;
	e->port_num = port;
	e->gid_type = index == 2 ? IBV_GID_TYPE_ROCE_V2 : IBV_GID_TYPE_ROCE_V1;
	return ibv_query_gid(c, port, index, &e->gid);
}

/* ---- protection domains and memory ---- */

struct ibv_pd *ibv_alloc_pd(struct ibv_context *c)
{
	if (failing(FAIL_PD))
		return NULL;
	struct pd *p = calloc(1, sizeof *p);
	p->p.context = c;
	((struct context *)c)->pds++;
	add(PDS, 1);
	return &p->p;
}

int ibv_dealloc_pd(struct ibv_pd *p)
{
	if (((struct pd *)p)->users)
		return misuse(EBUSY);
	((struct context *)p->context)->pds--;
	free(p);
	add(PDS, -1);
	return 0;
}

struct ibv_mr *ibv_reg_mr(struct ibv_pd *p, void *address, size_t bytes, int access)
{
	static uint32_t key = 0x1000;
	if (failing(FAIL_MR))
		return NULL;
	int every = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE;
	if (get(THUNDERBOLT) && (access & every) != every) {
		errno = EINVAL;
		return NULL;
	}
	if (get(THUNDERBOLT) && get(MRS) >= 100) {
		errno = ENOMEM;
		return NULL;
	}
	struct mr *m = calloc(1, sizeof *m);
	m->m = (struct ibv_mr){.context = p->context, .pd = p, .addr = address, .length = bytes};
	m->access = access;
	pthread_mutex_lock(&all);
	m->m.lkey = m->m.rkey = key++;
	m->next = mrs;
	mrs = m;
	((struct pd *)p)->users++;
	add(MRS, 1);
	if (get(MRS) > get(MRS_PEAK))
		atomic_store(&settings[MRS_PEAK], get(MRS));
	pthread_mutex_unlock(&all);
	return &m->m;
}

int ibv_dereg_mr(struct ibv_mr *gone)
{
	pthread_mutex_lock(&all);
	for (struct mr **m = &mrs; *m; m = &(*m)->next)
		if (&(*m)->m == gone) {
			*m = (*m)->next;
			break;
		}
	((struct pd *)gone->pd)->users--;
	add(MRS, -1);
	pthread_mutex_unlock(&all);
	free(gone);
	return 0;
}

/* registered says whether the memory is, with the key, in the domain, and for the access. */
static int registered(struct ibv_pd *p, const struct ibv_sge *s, int access)
{
	int found = 0;
	pthread_mutex_lock(&all);
	for (struct mr *m = mrs; m; m = m->next)
		if (m->m.lkey == s->lkey)
			found = m->m.pd == p && (m->access & access) == access && s->addr >= (uintptr_t)m->m.addr &&
				s->addr + s->length <= (uintptr_t)m->m.addr + m->m.length;
	pthread_mutex_unlock(&all);
	return found;
}

/* ---- completions ---- */

struct ibv_comp_channel *ibv_create_comp_channel(struct ibv_context *c)
{
	static _Atomic unsigned number;
	if (failing(FAIL_CHANNEL))
		return NULL;
	if (get(THUNDERBOLT)) {
		errno = EOPNOTSUPP;
		return NULL;
	}
	struct channel *ch = calloc(1, sizeof *ch);
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	snprintf(ch->path, sizeof ch->path, "%s/ch-%d-%u", fabric, getpid(), number++);
	strncpy(at.sun_path, ch->path, sizeof at.sun_path - 1);
	ch->c.context = c;
	ch->c.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (ch->c.fd < 0 || bind(ch->c.fd, (struct sockaddr *)&at, sizeof at)) {
		close(ch->c.fd);
		free(ch);
		return NULL;
	}
	((struct context *)c)->channels++;
	add(CHANNELS, 1);
	return &ch->c;
}

int ibv_destroy_comp_channel(struct ibv_comp_channel *c)
{
	struct channel *ch = (struct channel *)c;
	if (ch->cqs)
		return misuse(EBUSY);
	close(c->fd);
	unlink(ch->path);
	((struct context *)c->context)->channels--;
	free(ch);
	add(CHANNELS, -1);
	return 0;
}

int ibv_get_cq_event(struct ibv_comp_channel *c, struct ibv_cq **cq, void **cq_context)
{
	uint64_t which;
	ssize_t n;
	do
		n = recv(c->fd, &which, sizeof which, 0);
	while (n < 0 && errno == EINTR);
	if (n != sizeof which)
		return -1;
	*cq = (struct ibv_cq *)(uintptr_t)which;
	*cq_context = (*cq)->cq_context;
	((struct cq *)*cq)->events++;
	return 0;
}

void ibv_ack_cq_events(struct ibv_cq *cq, unsigned n) { ((struct cq *)cq)->acknowledged += n; }

struct ibv_cq *ibv_create_cq(struct ibv_context *c, int n, void *cq_context, struct ibv_comp_channel *ch, int vector)
{
	if (failing(FAIL_CQ))
		return NULL;
	struct cq *q = calloc(1, sizeof *q);
	q->c = (struct ibv_cq){.context = c, .channel = ch, .cq_context = cq_context, .cqe = n};
	q->ring = calloc(n, sizeof *q->ring);
	q->capacity = n;
	pthread_mutex_init(&q->lock, NULL);
	if (ch)
		((struct channel *)ch)->cqs++;
	((struct context *)c)->cqs++;
	add(CQS, 1);
	return &q->c;
}

int ibv_destroy_cq(struct ibv_cq *c)
{
	struct cq *q = (struct cq *)c;
	if (q->qps)
		return misuse(EBUSY);
	if (q->events != q->acknowledged)
		return misuse(EDEADLK); /* the library would wait for ever */
	if (c->channel)
		((struct channel *)c->channel)->cqs--;
	((struct context *)c->context)->cqs--;
	free(q->ring);
	free(q);
	add(CQS, -1);
	return 0;
}

/* complete puts a completion on the queue, whose lock is held. */
static void complete(struct cq *c, struct qp *q, struct ibv_wc wc, int is_send, int solicited)
{
	solicited |= wc.status != IBV_WC_SUCCESS;
	if (c->length == c->capacity) {
		add(OVERFLOW, 1);
		return;
	}
	struct entry *e = &c->ring[(c->head + c->length++) % c->capacity];
	wc.qp_num = q->q.qp_num;
	*e = (struct entry){.wc = wc, .sender = is_send ? q : NULL};
	long delay = get(DELAY_US);
	if (delay > 0) {
		e->due = now() + delay * 1000;
		raise_later(q->mine, solicited, e->due);
	} else
		raise_event(q->mine, solicited);
}

/* fail breaks the queue pair: everything that is posted comes back flushed. */
static void fail(struct cq *c, struct qp *q)
{
	q->failed = 1;
	atomic_store(&q->mine->state, GONE);
	while (q->posted) {
		struct receive *r = &q->receives[q->first];
		complete(c, q, (struct ibv_wc){.wr_id = r->id, .status = IBV_WC_WR_FLUSH_ERR}, 0, 1);
		q->first = (q->first + 1) % q->max_receives;
		q->posted--;
	}
}

/* arrive gives the messages in the ring to the receives that are posted. */
static void arrive(struct cq *c, struct qp *q)
{
	struct wire *w = q->mine;
	uint64_t head = atomic_load(&w->head);
	while (!q->failed && q->posted && head < atomic_load(&w->tail)) {
		struct message *m = &w->ring[head % w->capacity];
		struct receive *r = &q->receives[q->first];
		struct ibv_wc wc = {.wr_id = r->id, .opcode = IBV_WC_RECV, .byte_len = m->bytes};
		if (countdown(FAIL_RECEIVE_IN))
			wc.status = get(FAIL_STATUS);
		else if (m->bytes > r->piece.length || (get(THUNDERBOLT) && frames(m->bytes) != frames(r->piece.length)))
			wc.status = IBV_WC_LOC_LEN_ERR;
		else if (!registered(q->q.pd, &r->piece, IBV_ACCESS_LOCAL_WRITE))
			wc.status = IBV_WC_LOC_PROT_ERR;
		else
			memcpy((void *)(uintptr_t)r->piece.addr, m->data, m->bytes);
		q->first = (q->first + 1) % q->max_receives;
		q->posted--;
		atomic_store_explicit(&w->head, ++head, memory_order_release);
		complete(c, q, wc, 0, m->solicited);
		if (wc.status)
			fail(c, q);
	}
}

static int poll_cq(struct ibv_cq *ibcq, int n, struct ibv_wc *wc)
{
	struct cq *c = (struct cq *)ibcq;
	int done = 0;
	if (countdown(FAIL_POLL_IN))
		return -EIO;
	pthread_mutex_lock(&c->lock);
	for (struct qp *q = c->qps; q; q = q->next)
		arrive(c, q);
	while (done < n && c->length && (!c->ring[c->head].due || c->ring[c->head].due <= now())) {
		struct entry *e = &c->ring[c->head];
		wc[done++] = e->wc;
		if (e->sender)
			e->sender->sends--;
		c->head = (c->head + 1) % c->capacity;
		c->length--;
	}
	pthread_mutex_unlock(&c->lock);
	return done;
}

/* A request for every completion stays one, whatever is asked for before its event. */
static int req_notify_cq(struct ibv_cq *ibcq, int solicited)
{
	struct cq *c = (struct cq *)ibcq;
	pthread_mutex_lock(&c->lock);
	for (struct qp *q = c->qps; q; q = q->next) {
		uint32_t none = 0;
		if (!solicited)
			atomic_store(&q->mine->armed, 1);
		else
			atomic_compare_exchange_strong(&q->mine->armed, &none, 2);
	}
	pthread_mutex_unlock(&c->lock);
	return 0;
}

/* ---- queue pairs ---- */

static struct wire *map(const char *path, int create, size_t *bytes, int *file)
{
	struct stat st;
	int fd = open(path, create ? O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC : O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return NULL;
	if (create)
		flock(fd, LOCK_EX);
	void *at = MAP_FAILED;
	if (create ? ftruncate(fd, *bytes) == 0 : fstat(fd, &st) == 0) {
		if (!create)
			*bytes = st.st_size;
		at = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	}
	if (at == MAP_FAILED) {
		close(fd);
		return NULL;
	}
	*file = fd;
	return at;
}

struct ibv_qp *ibv_create_qp(struct ibv_pd *p, struct ibv_qp_init_attr *a)
{
	if (failing(FAIL_QP))
		return NULL;
	if (get(THUNDERBOLT) && get(QPS) >= 10) {
		errno = EBUSY;
		return NULL;
	}
	if ((a->qp_type != IBV_QPT_RC && a->qp_type != IBV_QPT_UC) || a->send_cq != a->recv_cq || !a->cap.max_send_wr ||
	    !a->cap.max_recv_wr || a->cap.max_send_sge != 1 || a->cap.max_recv_sge != 1) {
		misuse(EINVAL);
		return NULL;
	}
	struct qp *q = calloc(1, sizeof *q);
	q->mine_bytes = sizeof(struct wire) + a->cap.max_recv_wr * sizeof(struct message);
	for (uint32_t number = 17; !q->mine; number++) {
		snprintf(q->path, sizeof q->path, "%s/qp-%u", fabric, number);
		q->mine = map(q->path, 1, &q->mine_bytes, &q->mine_file);
		q->q.qp_num = number;
		if (!q->mine && errno != EEXIST) {
			free(q);
			return NULL;
		}
	}
	struct cq *c = (struct cq *)a->send_cq;
	q->q.context = p->context;
	q->q.pd = p;
	q->q.send_cq = q->q.recv_cq = a->send_cq;
	q->q.state = IBV_QPS_RESET;
	q->q.qp_type = a->qp_type;
	q->max_sends = a->cap.max_send_wr;
	q->max_receives = a->cap.max_recv_wr;
	q->receives = calloc(q->max_receives, sizeof *q->receives);
	q->mine->type = a->qp_type;
	q->mine->capacity = q->max_receives;
	q->mine->cq = (uintptr_t)c;
	if (c->c.channel)
		strcpy(q->mine->channel, ((struct channel *)c->c.channel)->path);
	((struct pd *)p)->users++;
	pthread_mutex_lock(&c->lock);
	q->next = c->qps;
	c->qps = q;
	pthread_mutex_unlock(&c->lock);
	add(QPS, 1);
	return &q->q;
}

int ibv_destroy_qp(struct ibv_qp *ibqp)
{
	struct qp *q = (struct qp *)ibqp;
	struct cq *c = (struct cq *)ibqp->send_cq;
	pthread_mutex_lock(&c->lock);
	for (struct qp **at = &c->qps; *at; at = &(*at)->next)
		if (*at == q) {
			*at = q->next;
			break;
		}
	unsigned kept = 0; /* its completions leave with it */
	for (unsigned i = 0; i < c->length; i++) {
		struct entry e = c->ring[(c->head + i) % c->capacity];
		if (e.wc.qp_num != ibqp->qp_num)
			c->ring[(c->head + kept++) % c->capacity] = e;
	}
	c->length = kept;
	pthread_mutex_unlock(&c->lock);
	forget_alarms(q->mine);
	atomic_store(&q->mine->state, GONE);
	munmap(q->mine, q->mine_bytes);
	close(q->mine_file);
	unlink(q->path);
	if (q->peer) {
		munmap(q->peer, q->peer_bytes);
		close(q->peer_file);
	}
	((struct pd *)ibqp->pd)->users--;
	free(q->receives);
	free(q);
	add(QPS, -1);
	return 0;
}

static int reset_to_init(struct qp *q, struct ibv_qp_attr *a, int mask)
{
	if (q->q.state != IBV_QPS_RESET || a->port_num != 1 ||
	    mask != (IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS))
		return misuse(EINVAL);
	return 0;
}

static int init_to_rtr(struct qp *q, struct ibv_qp_attr *a, int mask)
{
	int want = IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN;
	if (q->q.qp_type == IBV_QPT_RC)
		want |= IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER;
	struct ibv_ah_attr *ah = &a->ah_attr;
	union ibv_gid own;
	if (q->q.state != IBV_QPS_INIT || mask != want || ah->port_num != 1 || !ah->is_global || !ah->grh.hop_limit ||
	    a->path_mtu < IBV_MTU_256 || a->path_mtu > IBV_MTU_4096 || a->rq_psn >> 24)
		return misuse(EINVAL);
	if (get(THUNDERBOLT) && q->q.qp_type == IBV_QPT_RC)
		return errno = EOPNOTSUPP;
	if (ibv_query_gid(q->q.context, 1, ah->grh.sgid_index, &own) || memcmp(&own, &ah->grh.dgid, sizeof own))
		q->unreachable = 1; /* there is only this machine */
	char path[sizeof q->path];
	snprintf(path, sizeof path, "%s/qp-%u", fabric, a->dest_qp_num);
	q->peer = map(path, 0, &q->peer_bytes, &q->peer_file);
	q->mtu = q->mine->mtu = a->path_mtu;
	q->mine->psn = a->rq_psn;
	q->mine->peer = a->dest_qp_num;
	atomic_store(&q->mine->state, READY);
	return 0;
}

static int rtr_to_rts(struct qp *q, struct ibv_qp_attr *a, int mask)
{
	int want = IBV_QP_STATE | IBV_QP_SQ_PSN;
	if (q->q.qp_type == IBV_QPT_RC)
		want |= IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC;
	if (q->q.state != IBV_QPS_RTR || mask != want || a->rnr_retry >= 7)
		return misuse(EINVAL);
	if (q->q.qp_type == IBV_QPT_RC && (!a->timeout || !a->retry_cnt))
		return misuse(EINVAL); /* would wait for ever */
	q->psn = a->sq_psn;
	return 0;
}

int ibv_modify_qp(struct ibv_qp *ibqp, struct ibv_qp_attr *a, int mask)
{
	struct qp *q = (struct qp *)ibqp;
	int r = EINVAL;
	if (failing(FAIL_MODIFY))
		return errno;
	if (a->qp_state == IBV_QPS_INIT)
		r = reset_to_init(q, a, mask);
	else if (a->qp_state == IBV_QPS_RTR)
		r = init_to_rtr(q, a, mask);
	else if (a->qp_state == IBV_QPS_RTS)
		r = rtr_to_rts(q, a, mask);
	if (!r)
		q->q.state = a->qp_state;
	return r;
}

static int post_recv(struct ibv_qp *ibqp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	struct qp *q = (struct qp *)ibqp;
	struct cq *c = (struct cq *)ibqp->recv_cq;
	int r = 0;
	pthread_mutex_lock(&c->lock);
	if (wr->next || wr->num_sge != 1 || ibqp->state == IBV_QPS_RESET || (get(THUNDERBOLT) && ibqp->state != IBV_QPS_RTS))
		r = misuse(EINVAL);
	else if (q->posted == q->max_receives)
		r = misuse(ENOMEM);
	else if (q->failed)
		complete(c, q, (struct ibv_wc){.wr_id = wr->wr_id, .status = IBV_WC_WR_FLUSH_ERR}, 0, 1);
	else {
		q->receives[(q->first + q->posted++) % q->max_receives] = (struct receive){wr->wr_id, *wr->sg_list};
		atomic_fetch_add(&q->mine->posted, 1);
	}
	pthread_mutex_unlock(&c->lock);
	if (r)
		*bad = wr;
	return r;
}

/* alive says whether the process of the peer still runs: it holds a lock on the file of its queue pair. */
static int alive(struct qp *q)
{
	if (flock(q->peer_file, LOCK_SH | LOCK_NB))
		return 1;
	flock(q->peer_file, LOCK_UN);
	return 0;
}

/* deliver puts a message into the peer's ring, and says how the send ends. */
static enum ibv_wc_status deliver(struct qp *q, const struct ibv_sge *s, int solicited)
{
	struct wire *w = q->peer;
	int reliable = q->q.qp_type == IBV_QPT_RC;
	if (countdown(FAIL_SEND_IN))
		return get(FAIL_STATUS);
	if (!registered(q->q.pd, s, 0))
		return IBV_WC_LOC_PROT_ERR;
	if (s->length > MESSAGE)
		return IBV_WC_LOC_LEN_ERR;
	if (countdown(LOSE_IN))
		return IBV_WC_SUCCESS;
	if (!w || q->unreachable || get(UNREACHABLE) || atomic_load(&w->state) != READY || w->peer != q->q.qp_num ||
	    w->psn != q->psn || w->type != q->q.qp_type || w->mtu != q->mtu || !alive(q))
		return reliable ? IBV_WC_RETRY_EXC_ERR : IBV_WC_SUCCESS;
	uint64_t tail = atomic_load(&w->tail);
	if (tail >= atomic_load(&w->posted)) {
		add(NOT_READY, 1);
		return reliable ? IBV_WC_RNR_RETRY_EXC_ERR : IBV_WC_SUCCESS;
	}
	struct message *m = &w->ring[tail % w->capacity];
	m->bytes = s->length;
	m->solicited = solicited;
	memcpy(m->data, (void *)(uintptr_t)s->addr, s->length);
	atomic_store(&w->tail, tail + 1);
	raise_event(w, solicited);
	return IBV_WC_SUCCESS;
}

static int post_send(struct ibv_qp *ibqp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	struct qp *q = (struct qp *)ibqp;
	struct cq *c = (struct cq *)ibqp->send_cq;
	int r = 0;
	long full = get(FULL);
	pthread_mutex_lock(&c->lock);
	arrive(c, q); /* what came before the send is complete before it */
	if (wr->next || wr->num_sge != 1 || wr->opcode != IBV_WR_SEND || (wr->send_flags & ~IBV_SEND_SOLICITED) != IBV_SEND_SIGNALED ||
	    ibqp->state != IBV_QPS_RTS)
		r = misuse(EINVAL);
	else if (full > 0) {
		add(FULL, -1);
		r = ENOMEM;
	} else if (q->sends == q->max_sends)
		r = misuse(ENOMEM);
	else {
		q->sends++;
		add(SENDS, 1);
		struct ibv_wc wc = {.wr_id = wr->wr_id, .opcode = IBV_WC_SEND};
		if (q->failed)
			wc.status = IBV_WC_WR_FLUSH_ERR;
		else if (!get(MUTE))
			wc.status = deliver(q, wr->sg_list, !!(wr->send_flags & IBV_SEND_SOLICITED));
		if (!get(MUTE) || q->failed)
			complete(c, q, wc, 1, 0);
		if (wc.status && !q->failed)
			fail(c, q);
	}
	pthread_mutex_unlock(&c->lock);
	if (r)
		*bad = wr;
	return r;
}
