/*
 * commit: commit, apply, flush and recovery, with a loss of power or the death of
 * the process between any two steps, also of recovery.
 *
 * One writer commits again and again; locks are another model (locks.pml).  Home
 * is two cells.  Commit n stores the value n to one of them or to both; what the
 * content is after commit n is the claim's business (after[n]).  The log has two
 * segments of two records, which take turns.  What was stored is visible at once,
 * and durable some time: a loss of power leaves of a cell any value that it had
 * since its last fence, and of a record the old one, the new one, or a torn one.
 * A fence makes all of its medium durable.
 *
 *   writer     nv_commit_seal, nv_commit_harden, nv_commit_apply, publish
 *   begin      place.c: begin, nv_log_tail
 *   flush      nv_flush_home
 *   recover    nv_recover_home, nv_log_scan, persist_again, nv_replay, nv_retire
 *
 * With DAX a fence covers log and home, so the next commit's makes the last one's
 * home durable; else (PAGE) home has a flush of its own.  Claims: recovery never
 * refuses, and yields the content after a commit that is not earlier than the
 * last one that was acknowledged, nor later than the last one begun.
 */
#ifndef COMMITS
#define COMMITS 5
#endif
#ifndef CRASHES
#define CRASHES 2
#endif
#define RECORDS 4 /* 0, 1 are segment 0; 2, 3 segment 1 */
#define SEGMENT(r) ((r) / 2)

typedef content {
    byte cell[2];
};
typedef log_record {
    byte seq; /* 0: not valid, or torn */
    byte cells; /* bit i: stores to cell i */
    byte tail; /* home was durable up to here */
};

content home;
short may_be[2] = 1;                        /* bit v: a loss of power may leave v in the cell */
log_record log[RECORDS], fenced[RECORDS]; /* visible; as of the last fence */
byte head_tail, head_tail_fenced;        /* the header's tail */
bool emptied, emptied_fenced;            /* the header says EMPTY */

/* The shared page: gone with the process. */
byte applied, home_durable, log_tail, log_head, last_in[2];

/* Claims. */
content after[COMMITS + 2];
byte acknowledged, begun, crashes, base;

inline copy_record(to, from)
{
    to.seq = from.seq;
    to.cells = from.cells;
    to.tail = from.tail
}

/* Ordered by a fence; until then the kernel, or the processor, does as it likes. */
#define STORE(i, value) home.cell[i] = value; may_be[i] = may_be[i] | (1 << (value))
#define FENCE_CELL(i) may_be[i] = 1 << home.cell[i]

inline fence_log()
{
    atomic {
        copy_record(fenced[0], log[0]);
        copy_record(fenced[1], log[1]);
        copy_record(fenced[2], log[2]);
        copy_record(fenced[3], log[3]);
        head_tail_fenced = head_tail;
        emptied_fenced = emptied;
#ifdef DAX
        FENCE_CELL(0);
        FENCE_CELL(1)
#endif
    }
}

inline fence_home()
{
    atomic {
#ifdef DAX
        fence_log()
#else
        FENCE_CELL(0);
        FENCE_CELL(1)
#endif
    }
}

/* The segment that record r begins is overwritten: home has it all, and the log says so. */
inline begin(r)
{
#ifndef MUTANT_NO_WAIT_FOR_HOME
    if
    :: home_durable < last_in[SEGMENT(r)] ->
        fence_home();
        home_durable = applied
    :: else
    fi;
#endif
#ifndef MUTANT_NO_TAIL_IN_THE_HEADER
    if
    :: log_tail < last_in[SEGMENT(r)] ->
        head_tail = home_durable;
        fence_log();
        log_tail = home_durable
    :: else
    fi;
#endif
    skip
}

inline commit()
{
    n = applied + 1;
    r = log_head;
    if
    :: r % 2 == 0 && last_in[SEGMENT(r)] != 0 -> begin(r)
    :: else
    fi;
    atomic {
        cells = (n % 3 == 0 -> 3 : n % 3); /* the first, the second, both */
        begun = n;
        after[n].cell[0] = ((cells & 1) != 0 -> n : after[n - 1].cell[0]);
        after[n].cell[1] = ((cells & 2) != 0 -> n : after[n - 1].cell[1]);
        log[r].seq = n;
        log[r].cells = cells;
#ifndef MUTANT_TAIL_IS_APPLIED
        log[r].tail = home_durable
#else
        log[r].tail = applied
#endif
    }
#if !defined(MUTANT_NO_COMMIT_FENCE) && !defined(MUTANT_APPLY_BEFORE_THE_FENCE)
    fence_log();
#endif
#ifndef MUTANT_APPLY_BEFORE_THE_FENCE
    acknowledged = n;
#endif
#ifdef DAX
    home_durable = applied;
#endif
    if
    :: (cells & 1) != 0 -> atomic { STORE(0, n); }
    :: else
    fi;
    if
    :: (cells & 2) != 0 -> atomic { STORE(1, n); }
    :: else
    fi;
#ifdef MUTANT_APPLY_BEFORE_THE_FENCE
    fence_log();
    acknowledged = n;
#endif
    atomic {
        applied = n;
        last_in[SEGMENT(r)] = n;
        log_tail = log[r].tail;
        log_head = (r + 1) % RECORDS;
        cells = 0
    }
}

/* What a run of a segment is: its first record, and the next if it continues it. */
inline scan_segment(first)
{
    if
    :: log[first].seq > last -> last = log[first].seq; tail = log[first].tail
    :: else
    fi;
    if
    :: log[first].seq != 0 && log[first + 1].seq == log[first].seq + 1 && log[first + 1].seq > last ->
        last = log[first + 1].seq;
        tail = log[first + 1].tail
    :: else
    fi
}

/* The record of commit n, in a run. */
inline find(n)
{
    r = 0;
    do
    :: r == RECORDS -> break
    :: log[r].seq == n && (r % 2 == 0 || log[r - 1].seq == n - 1) -> break
    :: else -> r++
    od
}

inline recover()
{
    atomic {
        last = 0;
        tail = 0;
        if
        :: emptied
        :: else ->
            scan_segment(0);
            scan_segment(2);
            if
            :: head_tail > tail && head_tail <= last -> tail = head_tail
            :: else
            fi
        fi
    }
    if
    :: last == 0 -> last = base
    :: else ->
#ifndef MUTANT_NOT_PERSISTED_AGAIN
        fence_log();
#endif
#ifdef MUTANT_THE_LAST_ONE_ALONE_IS_REPEATED
        tail = last - 1;
#endif
        n = tail + 1;
        do
        :: n <= last ->
            atomic {
                find(n);
                assert(r < RECORDS) /* else it would have to refuse */
            }
            if
            :: (log[r].cells & 1) != 0 -> atomic { STORE(0, n); }
            :: else
            fi;
            if
            :: (log[r].cells & 2) != 0 -> atomic { STORE(1, n); }
            :: else
            fi;
            n++
        :: else -> break
        od
    fi;
    atomic {
        assert(acknowledged <= last && last <= begun);
        assert(home.cell[0] == after[last].cell[0]);
        assert(home.cell[1] == after[last].cell[1]);
        /* What recovery has shown is what stays. */
        acknowledged = last;
        begun = last
    }
#ifndef MUTANT_EMPTIED_BEFORE_HOME_IS_DURABLE
    fence_home();
#endif
    base = last; /* the header has the size that goes with it; durable with EMPTY */
    emptied = true;
    fence_log();
    atomic { /* the log goes, and a new one comes */
        r = 0;
        do
        :: r < RECORDS ->
            log[r].seq = 0;
            log[r].cells = 0;
            log[r].tail = 0;
            copy_record(fenced[r], log[r]);
            r++
        :: else -> break
        od;
        emptied = false;
        emptied_fenced = false;
        head_tail = 0;
        head_tail_fenced = 0;
        applied = last;
        home_durable = last;
        log_tail = last;
        log_head = 0;
        last_in[0] = 0;
        last_in[1] = 0;
        last = 0;
        tail = 0;
        r = 0;
        n = 0
    }
}

bool crash, crashed;

active proctype engine()
{
    byte n, r, cells, last, tail;
again:
    {
        if
        :: crashed -> recover(); crashed = false
        :: else
        fi;
        do
        :: applied < COMMITS -> commit()
        :: applied < COMMITS && home_durable < applied -> /* a flush; on DAX, giving up the lock */
            n = applied;
            fence_home();
            home_durable = n
        :: applied == COMMITS -> break
        od;
        /* One more, of what is there in the end. */
        atomic { crashes = CRASHES; crash = false; }
        recover()
    } unless {
        atomic {
            crash;
            crash = false;
            crashed = true;
            n = 0;
            r = 0;
            cells = 0;
            last = 0;
            tail = 0
        }
        goto again
    }
}

inline lose_cell(i)
{
    v = 0;
    do
    :: (may_be[i] >> v) & 1 -> break
    :: (may_be[i] >> v) > 1 -> v++
    od;
    home.cell[i] = v;
    FENCE_CELL(i)
}

inline lose_record(r)
{
    if
    :: log[r].seq != fenced[r].seq || log[r].cells != fenced[r].cells ->
        if
        :: skip
        :: copy_record(log[r], fenced[r])
#ifndef MUTANT_NO_CHECKSUM
        :: log[r].seq = 0; log[r].cells = 0; log[r].tail = 0
#else /* its line is there, and what it stores is not */
        :: log[r].cells = 0
#endif
        fi;
        copy_record(fenced[r], log[r])
    :: else
    fi
}

/* The process dies, or with it the power. */
active proctype fate()
{
    byte v;
end:
    do
    :: atomic { crashes < CRASHES -> crashes++; crash = true; }
    :: atomic {
            crashes < CRASHES ->
            crashes++;
            crash = true;
            lose_cell(0);
            lose_cell(1);
            v = 0;
            lose_record(0);
            lose_record(1);
            lose_record(2);
            lose_record(3);
            if
            :: skip
            :: head_tail = head_tail_fenced; emptied = emptied_fenced
            fi;
            head_tail_fenced = head_tail;
            emptied_fenced = emptied
        }
    od
}
