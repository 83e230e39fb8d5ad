package server

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// defects are those of the predecessor, go-ethereum v1.13.5's les/vflux/server and
// what it uses, each with the tests that fail on it. Tests of other packages stand
// with their folder.
var defects = []struct {
	number int
	what   string
	tests  string
}{
	{1, "the timer of exhaustion works once", "TestTokensRunOutWithoutTraffic"},
	{2, "added tokens never raise an answer", "TestAddedTokensCount"},
	{3, "the bias is ignored for who is not connected", "TestBiasProtectsInsiders"},
	{4, "debts never fade", "TestDebtsFadeByDefault"},
	{5, "small deposits are lost", "TestSmallDepositIsKept"},
	{6, "small charges are rounded to nothing", "TestSmallChargesAddUp TestChargesDoNotDependOnTheirNumber"},
	{7, "the address of a query includes the port", "TestAddressOfQuery udpquery:TestOneHostIsOneAddress"},
	{8, "answers are divided by the capacity twice", "TestQueryOfFullPool"},
	{9, "who never had capacity keeps a lost priority", "TestTokensTakenWhileWaiting"},
	{10, "a threshold that is reached already never fires", "TestTokensThatAreGoneAtOnce"},
	{11, "the peer never learns that it asked for a change", "TestRequestedReachesThePeer"},
	{12, "a second peer with a known id corrupts the pool", "TestRegisterTwice"},
	{13, "an attempt that fails takes capacity", "TestFailedAttemptChangesNothing TestMarketAgainstModel"},
	{14, "Register after Stop returns half a nil", "TestStopEndsAllClients"},
	{15, "no stop id means no ids", "TestGetPosBalanceIDs"},
	{16, "SetBalance swallows its error", "TestSetBalanceRefuses"},
	{17, "debts without an address are one debt", "TestNoAddressNoDebt"},
	{18, "a penalty vanishes while in service", "udpquery:TestPenaltySurvivesService"},
	{19, "one large penalty flattens all costs", "udpquery:TestHugePenaltyAndValueAreForgotten"},
	{20, "two meters never count", "TestMetrics"},
	{21, "a deposit races with exhaustion", "TestDepositAtExhaustion TestConcurrentUse"},
	{22, "huge balances and limits overflow", "TestHugeNumbers TestPriority"},
	{23, "setters leave a stale value", "udpquery:TestIntOrInfSetters"},
	{24, "a subtraction before the exponent is wrong", "lespay:TestExpiredValueAdds lespay:TestExpiredValueAgainstBigNumbers"},
	{25, "the comparator of dropped queues is none", "udpquery:TestDropsWorstOffenderFirst udpquery:TestDropsLatestOfEquals"},
	{26, "a panic blocks the server, and answers sleep", "udpquery:TestPanicsAreLoggedNowAndThen udpquery:TestNobodyWaitsLongerThan400ms"},
	{27, "Stop does not charge", "TestRestartKeepsBalances TestStopEndsAllClients"},
	{28, "without slots the answer is not 0", "TestMostInAnEmptyMarket"},
	{29, "cleaning up leaks iterators and forgets the cache", "TestIteratorsAreReleased TestDepositDuringCleanup TestSmallDebtsAreRemoved"},
	{30, "a key of odd length ends the list", "TestUndecodableBalancesCountAsNone"},
	{31, "clients behind one address overwrite their debt", "TestDebtIsShared"},
	{32, "decisions use priorities that are out of date", "TestDecisionsKnowTheLastSecond"},
	{33, "a queue of functions loses one (not in this library: les/utils stays the server's own)", ""},
	{34, "bursts of requests are underestimated", "TestBurstCountsAtOnce"},
}

func TestEveryDefectHasATest(t *testing.T) {
	for i, d := range defects {
		require.Equal(t, i+1, d.number)
		for _, name := range strings.Fields(d.tests) {
			folder := "."
			if other, rest, ok := strings.Cut(name, ":"); ok {
				folder, name = map[string]string{"lespay": "..", "udpquery": "../../udpquery"}[other], rest
			}
			require.Contains(t, testsIn(t, folder), name, "defect %d: %s", d.number, d.what)
		}
	}
	require.Len(t, defects, 34)
}

// ---------------------------------------------------------------------------

// testsIn returns the names of the test functions of a folder.
func testsIn(t *testing.T, folder string) (names []string) {
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	require.NoError(t, err)
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && strings.HasPrefix(fn.Name.Name, "Test") {
				names = append(names, fn.Name.Name)
			}
		}
	}
	return names
}
