#include "store/pause.h"

#include "store/clock.h"
#include "store/thread.h"

void pause_init(struct pause *pause)
{
    *pause = (struct pause){.wanted = false};
    pthread_mutex_init(&pause->mutex, NULL);
    condition_init(&pause->over);
}

void pause_free(struct pause *pause)
{
    pthread_cond_destroy(&pause->over);
    pthread_mutex_destroy(&pause->mutex);
}

void pause_before_read(struct pause *pause)
{
    pthread_mutex_lock(&pause->mutex);
    int64_t now = clock_steady_ms(), until = now + PAUSE_MS;
    for (; pause->wanted && now < until; now = clock_steady_ms())
        condition_wait_ms(&pause->over, &pause->mutex, until - now);
    pause->reading = true;
    pthread_mutex_unlock(&pause->mutex);
}

void pause_after_read(struct pause *pause)
{
    pthread_mutex_lock(&pause->mutex);
    pause->reading = false;
    pthread_mutex_unlock(&pause->mutex);
}

bool pause_is_quiet(struct pause *pause)
{
    pthread_mutex_lock(&pause->mutex);
    bool quiet = !pause->reading;
    pthread_mutex_unlock(&pause->mutex);
    return quiet;
}

void pause_ask(struct pause *pause)
{
    pthread_mutex_lock(&pause->mutex);
    pause->wanted = true;
    pthread_mutex_unlock(&pause->mutex);
}

void pause_end(struct pause *pause)
{
    pthread_mutex_lock(&pause->mutex);
    pause->wanted = false;
    pthread_cond_signal(&pause->over);
    pthread_mutex_unlock(&pause->mutex);
}
