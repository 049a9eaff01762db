//! Probes of [`device::warp`](crate::device::warp).

#[cfg(all(target_arch = "nvptx64", feature = "probes"))]
use crate::device::warp::{self, FULL};

probes! {
    /// out[i] = the lane.
    probe_lane_id, [], ["S2R"], |_a, out, i| {
        *out.add(i) = warp::lane_id();
    }

    /// out[i] = the warp.
    probe_warp_id, [], [], |_a, out, i| {
        *out.add(i) = warp::warp_id();
    }

    /// The active lanes: all, as nothing diverged.
    probe_activemask, [("activemask", 1)], [], |_a, out, i| {
        *out.add(i) = warp::activemask();
    }

    /// A word handed over through global memory within a warp.
    probe_sync_warp, [("bar.warp.sync", 1)], [], |a, out, i| {
        *out.add(i) = *a.add(i);
        warp::sync_warp(FULL);
        *out.add(i + 64) = *out.add(i ^ 1);
    }

    /// The value of the lane that the input names.
    probe_shuffle, [("shfl.sync.idx", 1)], ["SHFL.IDX"], |a, out, i| {
        *out.add(i) = warp::shuffle(FULL, *a.add(i), *a.add(i) >> 3);
    }

    /// The value three lanes below.
    probe_shuffle_up, [("shfl.sync.up", 1)], ["SHFL.UP"], |a, out, i| {
        *out.add(i) = warp::shuffle_up(FULL, *a.add(i), 3);
    }

    /// The value five lanes above.
    probe_shuffle_down, [("shfl.sync.down", 1)], ["SHFL.DOWN"], |a, out, i| {
        *out.add(i) = warp::shuffle_down(FULL, *a.add(i), 5);
    }

    /// The value of lane ^ 21.
    probe_shuffle_xor, [("shfl.sync.bfly", 1)], ["SHFL.BFLY"], |a, out, i| {
        *out.add(i) = warp::shuffle_xor(FULL, *a.add(i), 21);
    }

    /// 64 bits in two shuffles.
    probe_shuffle_xor_u64, [("shfl.sync.bfly", 2)], ["SHFL.BFLY"], |a, out, i| {
        let value = u64::from(*a.add(i)) << 32 | u64::from(*a.add(i + 64));
        let other = warp::shuffle_xor(FULL, value, 9);
        *out.add(i) = (other >> 32) as u32;
        *out.add(i + 64) = other as u32;
    }

    /// The value of lane 2 of the lane's segment of 8.
    probe_shuffle_in, [("shfl.sync.idx", 1)], ["SHFL.IDX"], |a, out, i| {
        *out.add(i) = warp::shuffle_in(FULL, *a.add(i), 2, 8);
    }

    /// The value three lanes below, within segments of 8.
    probe_shuffle_up_in, [("shfl.sync.up", 1)], ["SHFL.UP"], |a, out, i| {
        *out.add(i) = warp::shuffle_up_in(FULL, *a.add(i), 3, 8);
    }

    /// The value three lanes above, within segments of 16.
    probe_shuffle_down_in, [("shfl.sync.down", 1)], ["SHFL.DOWN"], |a, out, i| {
        *out.add(i) = warp::shuffle_down_in(FULL, *a.add(i), 3, 16);
    }

    /// Whether all lanes are odd.
    probe_vote_all, [("vote.sync.all", 1)], ["VOTE.ALL"], |a, out, i| {
        *out.add(i) = u32::from(warp::vote_all(FULL, *a.add(i) & 1 != 0));
    }

    /// Whether any lane is odd.
    probe_vote_any, [("vote.sync.any", 1)], ["VOTE.ANY"], |a, out, i| {
        *out.add(i) = u32::from(warp::vote_any(FULL, *a.add(i) & 1 != 0));
    }

    /// The odd lanes.
    probe_ballot, [("vote.sync.ballot", 1)], ["VOTE.ANY"], |a, out, i| {
        *out.add(i) = warp::ballot(FULL, *a.add(i) & 1 != 0);
    }

    /// The lanes with the same input modulo 5.
    probe_match_any, [("match.any.sync", 1)], ["MATCH.ANY"], |a, out, i| {
        *out.add(i) = warp::match_any(FULL, *a.add(i) % 5);
    }

    /// The warp's sum.
    probe_redux_add, [("redux.sync", 1)], ["REDUX.SUM"], |a, out, i| {
        *out.add(i) = warp::redux_add(FULL, *a.add(i));
    }

    /// The warp's least unsigned value.
    probe_redux_min_u32, [("redux.sync", 1)], ["REDUX.MIN"], |a, out, i| {
        *out.add(i) = warp::redux_min_u32(FULL, *a.add(i));
    }

    /// The warp's greatest unsigned value.
    probe_redux_max_u32, [("redux.sync", 1)], ["REDUX.MAX"], |a, out, i| {
        *out.add(i) = warp::redux_max_u32(FULL, *a.add(i));
    }

    /// The warp's least signed value.
    probe_redux_min_i32, [("redux.sync", 1)], ["REDUX.MIN.S32"], |a, out, i| {
        *out.add(i) = warp::redux_min_i32(FULL, *a.add(i) as i32) as u32;
    }

    /// The warp's greatest signed value.
    probe_redux_max_i32, [("redux.sync", 1)], ["REDUX.MAX.S32"], |a, out, i| {
        *out.add(i) = warp::redux_max_i32(FULL, *a.add(i) as i32) as u32;
    }

    /// The warp's bitwise and.
    probe_redux_and, [("redux.sync", 1)], ["REDUX"], |a, out, i| {
        *out.add(i) = warp::redux_and(FULL, *a.add(i));
    }

    /// The warp's bitwise or.
    probe_redux_or, [("redux.sync", 1)], ["REDUX.OR"], |a, out, i| {
        *out.add(i) = warp::redux_or(FULL, *a.add(i));
    }

    /// The warp's bitwise exclusive or.
    probe_redux_xor, [("redux.sync", 1)], ["REDUX.XOR"], |a, out, i| {
        *out.add(i) = warp::redux_xor(FULL, *a.add(i));
    }
}
