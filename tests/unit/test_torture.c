/* The disk fails, the daemon is started again, and then the power is cut: at every point at which
 * it can be. A failing sync loses what it was to write, and what it lost is called clean
 * (support_disk.h). Whatever happens, the log opens, and nothing that was acknowledged is lost.
 *
 * Three runs on one log: in the first an operation fails, in the second another or none, and the
 * third is well until the power is cut. By default each kind of failure is met with few cuts; all
 * are tried with ENCKE_TORTURE=all (make torture).
 */
#include "support_disk.h"
#include "support_store.h"
#include "support_vfs.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/clock.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

enum { KEEP = 12, BEFORE = 20, FIRST = 5, SECOND = 3, THIRD = 3, ALL = 64, FEW = 17 };

/* A numbered operation fails: a sync alone, or, as after a kill, it and all that come after it. */
struct failure {
    unsigned nth; /* 0: none */
    bool kill;
};

struct cut {
    unsigned number, acked; /* how many there were by then */
    enum disk_luck luck;
};

struct torture {
    struct store *store;
    void *base; /* the log as all cases find it */
    size_t base_size;
    bool all;
    char dir[100]; /* where the power cuts are kept */
    struct cut cuts[3 * 1000];
    unsigned cuts_kept, points;
    unsigned acked[ALL]; /* the numbers of the messages, */
    uint64_t seqs[ALL];  /* and their seqs */
    unsigned acked_count, number;
    unsigned cases, tried; /* tried: cuts, over all cases */
    char what[100];        /* the case, for who reads of its failure */
};

/* The disk is a model: where its page cache lies does not matter, so it may be in memory. */
static int setup(void **state)
{
    if (access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 1);
    return shim_setup(state);
}

static int teardown(void **state)
{
    disk_stop();
    return shim_teardown(state);
}

static void data_of(unsigned number, char *data, size_t size)
{
    int len = snprintf(data, size, "%u ", number);
    memset(data + len, number % 3 ? 0 : 'x', size - (size_t)len - 1);
    data[size - 1] = '\0';
}

/* Stores the message under a key. Returns its seq, 0 if it was not stored. */
static uint64_t put_once(struct store *store, unsigned number, const char *data)
{
    struct message *message = message_new_once("a", data, strlen(data), clock_wall_ms(),
                                               (const char *)&number, sizeof number);
    assert_non_null(message);
    enum log_status status = store_append(store, message);
    if (status != LOG_OK)
        message_drop(message);
    store_settle(store);
    return status == LOG_OK ? store->last_seq : 0;
}

/* Appends one message after the other; those of every third number fill some pages. Ends with the
 * first that fails. */
static void append(struct torture *torture, unsigned count)
{
    char data[9001];
    for (unsigned i = 0; i < count; i++) {
        data_of(++torture->number, data, sizeof data);
        torture->seqs[torture->acked_count] = put_once(torture->store, torture->number, data);
        if (torture->seqs[torture->acked_count] == 0)
            return;
        torture->acked[torture->acked_count] = torture->number;
        __atomic_store_n(&torture->acked_count, torture->acked_count + 1, __ATOMIC_RELEASE);
    }
}

static unsigned read_numbers(struct store *store, unsigned *numbers)
{
    const char *channel = "a";
    struct page page;
    assert_int_equal(
        store_page(store, &channel, 1, (struct cursor){.kind = CURSOR_START}, UP_TO(ALL), &page),
        LOG_OK);
    unsigned count = (unsigned)page.count;
    for (unsigned i = 0; i < count; i++)
        numbers[i] = (unsigned)atoi(message_data(page.messages[i]));
    page_free(&page);
    return count;
}

/* The newest that were acknowledged must all be there; older ones retention may have deleted, also
 * to make room for some that were not acknowledged. */
static void assert_kept(struct torture *torture, unsigned acked, const char *where)
{
    unsigned numbers[ALL], count = read_numbers(torture->store, numbers);
    unsigned sure = KEEP - 4, first = acked > sure ? acked - sure : 0;
    for (unsigned i = first; i < acked; i++) {
        unsigned at = 0;
        while (at < count && numbers[at] != torture->acked[i])
            at++;
        if (at == count)
            fail_msg("%s, %s: message %u was acknowledged and is lost", torture->what, where,
                     torture->acked[i]);
    }
}

/* The last one that was acknowledged is not stored again under its key. */
static void assert_once(struct torture *torture, unsigned acked, const char *where)
{
    char data[9001];
    if (acked == 0)
        return;
    data_of(torture->acked[acked - 1], data, sizeof data);
    uint64_t seq = put_once(torture->store, torture->acked[acked - 1], data);
    if (seq != torture->seqs[acked - 1])
        fail_msg("%s, %s: message %u has seq %lu, and its key gave %lu", torture->what, where,
                 torture->acked[acked - 1], torture->seqs[acked - 1], seq);
}

/* ---- cuts ---- */

static void path_of_cut(const struct torture *torture, const struct cut *cut, char *path)
{
    snprintf(path, 200, "%s/%u-%d.db", torture->dir, cut->number, cut->luck);
}

static void keep_cut(void *arg)
{
    struct torture *torture = arg;
    torture->points++;
    if (!torture->all && (torture->points + torture->cases) % FEW != 0)
        return;
    for (int luck = 0; luck < DISK_LUCKS; luck++) {
        struct cut *cut = &torture->cuts[torture->cuts_kept++];
        char path[200];
        assert_true(torture->cuts_kept <= sizeof torture->cuts / sizeof *torture->cuts);
        *cut =
            (struct cut){torture->points, __atomic_load_n(&torture->acked_count, __ATOMIC_ACQUIRE),
                         (enum disk_luck)luck};
        path_of_cut(torture, cut, path);
        disk_cut(path, cut->luck, torture->points);
    }
}

static void open_each_cut(struct torture *torture)
{
    struct store *store = torture->store;
    char saved[96], path[200], where[40];
    strcpy(saved, store->path);
    for (unsigned i = 0; i < torture->cuts_kept; i++) {
        const struct cut *cut = &torture->cuts[i];
        path_of_cut(torture, cut, path);
        store->options.path = path;
        snprintf(where, sizeof where, "cut %u.%d", cut->number, cut->luck);
        if (store_try_open(store) != 0)
            fail_msg("%s, %s: %s", torture->what, where, store->why);
        assert_kept(torture, cut->acked, where);
        assert_once(torture, cut->acked, where);
        assert_int_not_equal(store_put(store, "a", "0"), 0); /* and it goes on */
        assert_int_equal(store_close(store), LOG_OK);
        store_remove_log(path);
    }
    torture->tried += torture->cuts_kept;
    torture->cuts_kept = torture->points = 0;
    store->options.path = store->path;
}

/* ---- runs ---- */

/* Returns whether the failure was met. */
static bool run_and_fail(struct torture *torture, unsigned messages, struct failure failure)
{
    struct store *store = torture->store;
    if (failure.nth && failure.kill)
        shim_arm(SHIM_WRITE | SHIM_SYNC, failure.nth, SQLITE_IOERR_WRITE, true);
    else if (failure.nth)
        shim_arm(SHIM_SYNC, failure.nth, SQLITE_IOERR_FSYNC, false);
    if (store_try_open(store) == 0) {
        append(torture, messages);
        store_close(store);
    } else {
        if (!failure.nth || strstr(store->why, "damaged"))
            fail_msg("%s: %s", torture->what, store->why);
    }
    bool met = shim_met() > 0;
    shim_disarm();
    return met;
}

/* Returns whether both failures were met; with the second one unmet there is nothing to try. */
static bool torture_once(struct torture *torture, struct failure first, struct failure second,
                         enum disk_loss loss, bool *first_met)
{
    struct store *store = torture->store;
    snprintf(torture->what, sizeof torture->what, "%s %u, %s %u, loss %d",
             first.kill ? "kill" : "sync", first.nth, second.kill ? "kill" : "sync", second.nth,
             loss);
    torture->cases++;
    /* with a limit that is reached each append settles and deletes, without one none does */
    store->options.keep_messages = torture->cases % 2 ? KEEP : 0;
    store_remove_log(store->path);
    store_spit(store->path, torture->base, torture->base_size);
    torture->acked_count = 0;
    torture->number = BEFORE; /* keys that the base does not have */
    disk_start(store->path, loss);
    *first_met = run_and_fail(torture, FIRST, first);
    bool second_met = run_and_fail(torture, SECOND, second);
    if (*first_met && second_met == (second.nth > 0)) {
        disk_each_cut(keep_cut, torture);
        run_and_fail(torture, THIRD, (struct failure){0});
        disk_each_cut(NULL, NULL);
        disk_stop();
        open_each_cut(torture);
    }
    disk_stop();
    return *first_met && second_met;
}

/* All failures of one kind in the first run, each with none and some of that kind in the second:
 * kills differ less from one another, and there are many more of them. */
static void torture_kind(struct torture *torture, bool kill, enum disk_loss loss)
{
    unsigned step = torture->all ? 1 : kill ? 5 : 1;
    unsigned second_step = !torture->all ? 3 : kill ? 16 : 1;
    bool first_met = true;
    for (unsigned first = 1; first_met; first += step) {
        torture_once(torture, (struct failure){first, kill}, (struct failure){0}, loss, &first_met);
        bool met;
        for (unsigned second = 1, on = first_met; on; second += second_step) {
            on = torture_once(torture, (struct failure){first, kill},
                              (struct failure){second, kill && torture->all}, loss, &met);
        }
    }
}

static void make_base(struct torture *torture)
{
    struct store *store = torture->store;
    store->options.keep_messages = KEEP;
    store->options.memory_bytes = 0;
    store->options.once_ms = 3600 * 1000;
    store_open(store);
    append(torture, BEFORE);
    assert_int_equal(store_close(store), LOG_OK);
    torture->base = store_slurp(store->path, &torture->base_size);
    snprintf(torture->dir, sizeof torture->dir, "%s/cuts", store->dir);
    assert_int_equal(mkdir(torture->dir, 0700), 0);
}

static void a_power_cut_after_failures_and_restarts_loses_nothing(void **state)
{
    struct torture *torture = calloc(1, sizeof *torture);
    const char *how = getenv("ENCKE_TORTURE");
    assert_non_null(torture);
    torture->store = *state;
    torture->all = how && strcmp(how, "all") == 0;
    make_base(torture);
    for (int loss = 0; loss < DISK_LOSSES; loss++)
        torture_kind(torture, false, (enum disk_loss)loss);
    torture_kind(torture, true, LOSE_ALL);
    assert_true(torture->tried > 1000);
    print_message("%u power cuts: each log opened, with all that was acknowledged\n",
                  torture->tried);
    assert_int_equal(rmdir(torture->dir), 0);
    free(torture->base);
    free(torture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_power_cut_after_failures_and_restarts_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
