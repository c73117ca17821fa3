#include "fcgi/relay/backoff.h"

#include "fcgi/io/timer.h"

uint64_t backoff_ms(uint64_t since_ms)
{
    uint64_t ms = RELAY_WAIT_MS + timer_now_ms() - since_ms;
    return timer_jittered(ms < RELAY_WAIT_MAX_MS ? ms : RELAY_WAIT_MAX_MS);
}
