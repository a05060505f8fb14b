/*
 * locks: the slot lock protocol of core/share.c and core/share_door.c, with the
 * death of any process between any two steps, and its burial by another.
 *
 * Each actor is an operating system process with one handle.  It joins, reads or
 * writes once, and leaves; when it is killed it begins again as a new process,
 * which may get the byte and the slot of a dead one.  A step is one access to
 * what is shared.  Content is two cells, which a commit stores one by one; its
 * value is the number of the commit.
 *
 *   join, leave                   nv_share_join, take_byte, nv_share_clear_reader; home.c: leave
 *   shared                        nv_share_shared, nv_share_reader_release
 *   reserved, exclusive           nv_share_reserved, nv_share_exclusive, find_reader
 *   bury, clear_dead              nv_share_bury, clear_dead, clear_resident, nv_share_slot_free
 *   take_over                     nv_take_over (also nv_recover_home); lock.c: bury
 *   write                         nv_commit_seal, _unseal, _harden, _apply
 *
 * Claims: the assertions, and that nobody waits for ever.  Not here: time-outs (a
 * wait ends when what it waits for is possible), memory order (each step is seen
 * by all at once), a loss of power (commit.pml).
 *
 * ALL_ARE_THERE begins with everybody joined; FORKS lets a child keep the byte of
 * its dead parent; DEAD_WRITER (with both of these, and four actors) begins with
 * such a parent dead as the writer, two others that want to write, and a third
 * that wants a slot.
 */
#ifndef ACTORS
#define ACTORS 3
#endif
#ifndef WRITERS
#define WRITERS (ACTORS - 1)
#endif
#ifndef DEATHS
#define DEATHS 2
#endif

#define NONE 0
#define SHARED 1
#define RESERVED 2
#define PENDING 3
#define EXCLUSIVE 4

#define NOBODY 255
#define CHILD 100 /* holds the byte of its parent, which is dead */

/* The kernel's: byte locks on home, given up with the descriptor. */
byte byte_of[ACTORS]; /* who holds byte i: actor + 1, CHILD, or 0 */
byte door;            /* actor + 1, or 0 */
/* The shared page. */
bool resident[ACTORS]; /* process i is written down */
byte owner[ACTORS];    /* of slot i: process + 1, or 0 */
byte state[ACTORS];    /* of slot i */
byte level;            /* the writer word: level and slot, always changed as one */
byte writer;
bool ready; /* recovery is over: others may join */
/* Home and its log. */
byte cell[2];
byte record, record_before; /* the last two commits in the log; 0: none */

/* What only the claims know. */
bool running[ACTORS], die[ACTORS];
bool lives[ACTORS]; /* whom the page has as process i */
byte deaths, finished;
bool reading[ACTORS], writing[ACTORS];
byte values;      /* given to commits so far */
byte committed;   /* the value of the last commit that is durable */
short taken_back; /* bit v: value v was taken back */

#define GONE(i) (resident[i] && !lives[i])
#ifdef FORKS
#define IN_USE(i, me) (byte_of[i] != 0 && byte_of[i] != me + 1 && !(byte_of[i] == CHILD && GONE(i)))
#define CAN_BURY(i) (byte_of[i] == 0 || (byte_of[i] == CHILD && GONE(i) && door == 0))
#else
#define IN_USE(i, me) (byte_of[i] != 0 && byte_of[i] != me + 1)
#define CAN_BURY(i) (byte_of[i] == 0)
#endif
#if ACTORS == 4
#define ANY(what) (what(0) || what(1) || what(2) || what(3))
#elif ACTORS == 3
#define ANY(what) (what(0) || what(1) || what(2))
#else
#define ANY(what) (what(0) || what(1))
#endif
#define OTHER(i) IN_USE(i, me)
#define READS(i) reading[i]
#define WRITES(i) writing[i]
#define IS_FREE(i) (byte_of[i] == 0)

/* Home is one whole commit, none that was taken back, and none that was committed is missing. */
inline check_content()
{
    assert(cell[0] == cell[1]);
    assert(cell[0] >= committed);
    assert(((taken_back >> cell[0]) & 1) == 0)
}

/* The slots and the place of a process that is dead. */
inline clear_resident(dead)
{
    do
    :: atomic {
            i = 0;
            do
            :: i < ACTORS && owner[i] != dead + 1 -> i++
            :: else -> break
            od;
            if
            :: i == ACTORS -> break
            :: else
            fi
        }
#ifndef MUTANT_A_SLOT_IS_FREE_BEFORE_ITS_STATE
        state[i] = NONE;
        owner[i] = 0
#else
        owner[i] = 0;
        state[i] = NONE
#endif
    od;
    atomic { resident[dead] = false; i = 0; }
}

/* Repeat what the log holds: no flag says how far the dead one came. */
inline take_over()
{
#ifdef MUTANT_HEIR_TRUSTS_THE_FLAG
    skip
#else
    if
    :: atomic { record != 0 -> cell[0] = record; }
        cell[1] = record
    :: record == 0
    fi
#endif
}

/* The word of a dead writer: inherited at EXCLUSIVE, free below it.  One compare-and-swap. */
inline clear_dead(dead)
{
    atomic { /* what is there ... */
        inherited = false;
        seen_level = NONE;
        if
        :: level != NONE && owner[writer] == dead + 1 -> seen_level = level; seen_slot = writer
        :: else
        fi
    }
    if
    :: seen_level != NONE ->
        atomic { /* ... if it still is */
            if
            :: level == seen_level && writer == seen_slot ->
                if
#ifndef MUTANT_EXCLUSIVE_IS_FREED
                :: seen_level == EXCLUSIVE -> writer = slot; inherited = true
#endif
                :: else -> level = NONE; writer = 0
                fi
            :: else
            fi;
            seen_slot = 0
        }
    :: else
    fi;
    clear_resident(dead);
    seen_level = NONE
}

/* The heir's work; EXCLUSIVE is his until it is done. */
inline inherit()
{
    if
    :: inherited ->
#ifdef MUTANT_THE_HEIR_LETS_GO_FIRST
        atomic { level = NONE; writer = 0; }
#endif
        take_over();
        atomic { level = NONE; writer = 0; inherited = false; }
    :: else
    fi
}

/* Whoever is in the way, if he is dead; we have a slot. */
inline bury(rival)
{
    if
    :: rival == NOBODY || rival == mine
#if defined(MUTANT_DEATH_BY_LOOKING)
    :: else ->
        if
        :: byte_of[rival] == 0 -> /* and then its place may be taken again */
            clear_dead(rival);
            inherit()
        :: else
        fi
#elif !defined(MUTANT_NOBODY_BURIES)
    :: atomic { rival != NOBODY && rival != mine && byte_of[rival] == 0 -> byte_of[rival] = me + 1 }
#if defined(FORKS) && !defined(MUTANT_BURIAL_WITHOUT_THE_DOOR)
        if
        :: atomic { door == 0 -> door = me + 1 }
            clear_dead(rival);
            door = 0
        :: door != 0
        fi;
#else
        clear_dead(rival);
#endif
        byte_of[rival] = 0;
        inherit()
#ifdef FORKS
    :: rival != NOBODY && rival != mine && byte_of[rival] == CHILD && GONE(rival) ->
        if
        :: atomic { door == 0 -> door = me + 1 }
            if
#ifndef MUTANT_CONDEMNED_WITHOUT_A_SECOND_LOOK
            :: !GONE(rival)
#endif
            :: else -> clear_dead(rival)
            fi;
            door = 0
        :: door != 0
        fi;
        inherit()
#endif
    :: else
#else
    :: else
#endif
    fi;
    rival = NOBODY
}

#ifdef MUTANT_NOBODY_BURIES
#undef CAN_BURY
#define CAN_BURY(i) false
#endif
#define OWNER_CAN_BE_BURIED(s) (owner[s] != 0 && CAN_BURY(owner[s] - 1))

inline rival_of(s)
{
    rival = (owner[s] == 0 -> NOBODY : owner[s] - 1)
}

inline shared()
{
    do
    ::
#ifdef MUTANT_READER_LOOKS_FIRST
        atomic {
            if
            :: level < PENDING -> seen = 1
            :: else -> rival_of(writer)
            fi
        }
        if
        :: seen == 1 -> atomic { state[slot] = SHARED; seen = 0; break }
        :: else
        fi;
#else
        state[slot] = SHARED; /* locked: before the look */
        atomic {
            if
            :: level < PENDING -> break
            :: else -> rival_of(writer)
            fi
        }
        state[slot] = NONE;
#endif
        bury(rival);
        (level < PENDING || owner[writer] == 0 || OWNER_CAN_BE_BURIED(writer))
    od
}

inline reserved()
{
    do
#ifdef MUTANT_THE_WORD_IS_NOT_COMPARED
    :: level == NONE -> atomic { level = RESERVED; writer = slot; break }
#else
    :: atomic { level == NONE -> level = RESERVED; writer = slot; break }
#endif
    :: atomic { level != NONE -> rival_of(writer); }
        bury(rival);
        (level == NONE || owner[writer] == 0 || OWNER_CAN_BE_BURIED(writer))
    od
}

/* Readers are looked at one by one; one that is there has the scan begin anew. */
inline exclusive()
{
#ifndef MUTANT_PENDING_AFTER_THE_SCAN
    level = PENDING;
#endif
#ifndef MUTANT_NO_SCAN
    do
    :: atomic { s < ACTORS && (s == slot || state[s] == NONE) -> s++; }
    :: atomic { s < ACTORS && s != slot && state[s] != NONE -> rival_of(s); }
        bury(rival);
        atomic { (state[s] == NONE || owner[s] == 0 || OWNER_CAN_BE_BURIED(s)) -> s = 0; }
    :: atomic { s == ACTORS -> s = 0; break }
    od;
#endif
    level = EXCLUSIVE
}

inline read()
{
    shared();
    atomic {
        reading[me] = true;
        seen = cell[0];
        check_content();
    }
    atomic {
        assert(cell[1] == seen);
        check_content();
        reading[me] = false;
        seen = 0
    }
    state[slot] = NONE
}

inline write()
{
    reserved();
    exclusive();
    atomic {
        assert(!ANY(READS) && !ANY(WRITES));
        check_content();
        writing[me] = true;
        values++;
        value = values
    }
#ifdef MUTANT_APPLY_BEFORE_THE_RECORD
    cell[0] = value;
#endif
    atomic { record_before = record; record = value; }
    if
    :: atomic { /* a rollback */
#ifndef MUTANT_WHAT_IS_TAKEN_BACK_STAYS
            record = record_before;
#endif
            taken_back = taken_back | (1 << value);
        }
    :: atomic { committed = value; }
#ifdef MUTANT_UNLOCKED_BEFORE_IT_IS_APPLIED
        atomic { level = NONE; writer = 0; writing[me] = false; }
#endif
        cell[0] = value;
        cell[1] = value
    fi;
    atomic { level = NONE; writer = 0; writing[me] = false; value = 0; }
}

/* Under the door.  Nobody else there: a new page, and recovery.  Else the vacant places first; one
 * that a dead process left is cleared, unless he was the writer: his heir must be a handle. */
inline join()
{
#ifndef MUTANT_JOINED_WITHOUT_THE_DOOR
    atomic { door == 0 -> door = me + 1; }
#endif
    if
    :: atomic {
            !ANY(OTHER) ->
            do
            :: i < ACTORS ->
                if
                :: byte_of[i] == 0 && mine == NOBODY -> mine = i; byte_of[i] = me + 1
                :: else
                fi;
                resident[i] = (byte_of[i] == CHILD);
                owner[i] = 0;
                state[i] = NONE;
                i++
            :: else -> break
            od;
            i = 0;
            level = NONE;
            writer = 0;
            ready = false
        }
#ifndef MUTANT_THE_FIRST_RECOVERS_NOTHING
        take_over();
#endif
        record = 0
    :: atomic {
            ANY(OTHER) ->
            do
            :: i < ACTORS && (resident[i] || byte_of[i] != 0) -> i++
            :: else -> break
            od;
            if
            :: i < ACTORS && ready -> byte_of[i] = me + 1; mine = i
            :: else
            fi;
            i = 0
        }
        do
        :: atomic {
                s < ACTORS && mine == NOBODY && ready && resident[s] && byte_of[s] == 0 ->
                    byte_of[s] = me + 1
            }
            if
#ifndef MUTANT_A_DEAD_WRITERS_PLACE_IS_TAKEN
            :: atomic { level != NONE && owner[writer] == s + 1 -> byte_of[s] = 0; s++; }
#endif
            :: else -> clear_resident(s); mine = s
            fi
        :: atomic { s < ACTORS && mine == NOBODY && !(ready && resident[s] && byte_of[s] == 0) -> s++; }
        :: atomic { s == ACTORS || mine != NOBODY -> s = 0; break }
        od
    fi;
    atomic {
        if
        :: mine != NOBODY -> resident[mine] = true; lives[mine] = true; ready = true
        :: else
        fi;
        door = 0
    }
}

#define UNOWNED(i) (owner[i] == 0)
inline claim_slot()
{
    atomic {
        ANY(UNOWNED);
        slot = 0;
        do
        :: owner[slot] != 0 -> slot++
        :: else -> break
        od;
        owner[slot] = mine + 1
    }
}

inline leave()
{
    owner[slot] = 0;
#ifndef MUTANT_LEFT_WITHOUT_THE_DOOR
    atomic { door == 0 -> door = me + 1; }
#endif
    if
    :: !ANY(OTHER) ->
        if
#ifndef MUTANT_THE_LAST_LEAVES_A_DEAD_WRITERS_WORK
        :: level == EXCLUSIVE -> take_over()
#endif
        :: else
        fi;
        atomic { check_content(); record = 0; } /* nv_retire */
    :: else
    fi;
    resident[mine] = false;
    atomic { /* by closing the descriptor */
        byte_of[mine] = 0;
        door = 0;
        running[me] = false;
        finished++
    }
}

proctype actor(byte me; bool writes)
{
    byte mine = NOBODY, slot, i, s, rival = NOBODY, seen, seen_level, seen_slot, value;
    bool inherited;
#ifdef ALL_ARE_THERE
    atomic {
        mine = me;
        slot = me;
        if
        :: owner[me] == me + 1 -> goto there
        :: else -> goto joined
        fi
    }
#endif
begin:
    {
        do
        :: mine == NOBODY ->
            join();
            if
            :: mine == NOBODY -> ((ready && ANY(IS_FREE)) || !ANY(OTHER))
            :: else
            fi
        :: else -> break
        od;
joined:
        claim_slot();
there:
        if
        :: writes -> write()
        :: else -> read()
        fi;
        leave()
    } unless {
        atomic {
            die[me];
            die[me] = false;
            running[me] = true;
            mine = NOBODY;
            slot = 0;
            i = 0;
            s = 0;
            rival = NOBODY;
            seen = 0;
            seen_level = 0;
            seen_slot = 0;
            value = 0;
            inherited = false
        }
        goto begin
    }
}

/* Kills; its victim begins anew some time.  Children end some time. */
active proctype killer()
{
    byte who, b;
end:
    do
    :: atomic {
            deaths < DEATHS ->
            select(who : 0 .. (ACTORS - 1));
            if
            :: running[who] ->
                deaths++;
                die[who] = true;
                running[who] = false;
                reading[who] = false;
                writing[who] = false;
                b = 0;
                do
                :: b < ACTORS ->
                    if
                    :: byte_of[b] == who + 1 ->
                        lives[b] = false;
#ifdef FORKS
                        byte_of[b] = CHILD
#else
                        byte_of[b] = 0
#endif
                    :: else
                    fi;
                    b++
                :: else -> break
                od;
                if
                :: door == who + 1 -> door = 0
                :: else
                fi
            :: else
            fi;
            who = 0;
            b = 0
        }
#ifdef FORKS
    :: atomic { byte_of[0] == CHILD -> byte_of[0] = 0; }
    :: atomic { byte_of[1] == CHILD -> byte_of[1] = 0; }
    :: atomic { byte_of[ACTORS - 1] == CHILD -> byte_of[ACTORS - 1] = 0; }
#endif
    od
}

init
{
    byte a;
    atomic {
#ifdef ALL_ARE_THERE
        ready = true;
#endif
        for (a : 0 .. (ACTORS - 1)) {
#ifdef ALL_ARE_THERE
            byte_of[a] = a + 1;
            resident[a] = true;
            lives[a] = true;
            owner[a] = a + 1;
#endif
#ifdef DEAD_WRITER
            if
            :: a == 2 -> owner[2] = 1 /* another handle of the first one: slot 3 is what it gets */
            :: a == 3 ->
                byte_of[3] = CHILD;
                lives[3] = false;
                level = RESERVED;
                writer = 3;
                finished++
            :: else
            fi;
            if
            :: a == 3 -> break
            :: else
            fi;
#endif
            running[a] = true;
            run actor(a, a < WRITERS)
        }
    }
    (finished == ACTORS);
    atomic {
#ifdef FORKS /* a child may have kept the last one from merging the log: the next open does it */
        if
        :: record != 0 -> cell[0] = record; cell[1] = record; record = 0
        :: else
        fi;
#endif
        check_content();
        assert(record == 0)
    }
}
