#include "fcgi/conn/admission.h"

#include "fcgi/conn/refusal.h"
#include "fcgi/io/diag.h"

const char ADMISSION_STOPPING[] = "the service is about to stop";

bool admission_check(struct admission *admission, struct conn *conn)
{
    if (conn->conns->draining) {
        conn_refuse_for_now(conn, ADMISSION_STOPPING);
        return false;
    }
    if (admission->waiting < admission->waiting_max)
        return true;
    admission->refused++;
    if (!admission->told)
        diag(DIAG_WARN, "%u requests are held, the limit (--max-holds): refusing more",
             admission->waiting_max);
    admission->told = true;
    conn_refuse_for_now(conn, "too many requests are held");
    return false;
}

void admission_refuse(struct admission *admission, struct conn *conn, const char *why)
{
    admission->refused++;
    if (!admission->told)
        diag(DIAG_WARN, "refusing to hold a request: %s", why);
    admission->told = true;
    conn_refuse_for_now(conn, why);
}

void admission_enter(struct admission *admission)
{
    admission->waiting++;
}

void admission_leave(struct admission *admission)
{
    admission->waiting--;
    if (admission->told &&
        admission->waiting < admission->waiting_max - admission->waiting_max / 10 &&
        admission->bytes < admission->bytes_max - admission->bytes_max / 10)
        admission->told = false;
}
