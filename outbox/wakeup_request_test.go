package outbox

import "testing"

func TestRequest_WaitsForTransactionsThatMayHaveLookedBefore(t *testing.T) {
	for name, test := range map[string]struct {
		snapshots [][]uint64
		clear     []bool
	}{
		"nothing in flight":                 {[][]uint64{nil}, []bool{true}},
		"only later ones":                   {[][]uint64{{11, 12}, {12}}, []bool{true, true}},
		"an earlier one, over at the next":  {[][]uint64{{5}, nil}, []bool{false, true}},
		"an earlier one that stays":         {[][]uint64{{5}, {5, 12}, {5}}, []bool{false, false, false}},
		"two that end one by one":           {[][]uint64{{5, 7, 11}, {7, 11}, {11}}, []bool{false, false, true}},
		"one that appears later is behind":  {[][]uint64{{5}, {7}}, []bool{false, true}},
		"its own xid does not hold it back": {[][]uint64{{10}}, []bool{true}},
	} {
		request := &request{xid: 10}
		for i, xip := range test.snapshots {
			if got := request.clear(xip); got != test.clear[i] {
				t.Errorf("%s: after snapshot %d clear is %v", name, i, got)
			}
		}
	}
}
