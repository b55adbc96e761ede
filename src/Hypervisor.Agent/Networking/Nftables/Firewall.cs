using Hypervisor.Agent.Networking.Attachments;

namespace Hypervisor.Agent.Networking.Nftables;

/// <summary>Keeps our tables in the kernel equal to what they should be.</summary>
internal sealed class Firewall(Nft nft)
{
    private RulesetInput? _wanted;
    private string? _seen;

    /// <summary>Verifies the tables and replaces them, in one transaction, when they differ or nobody knows.</summary>
    /// <returns>Whether somebody else had changed it.</returns>
    public bool Ensure(RulesetInput input)
    {
        // After our own changes the table is written once more instead of being understood: it is atomic and harmless.
        var present = List(input.Table);
        if (_seen is not null && _seen == present && Same(_wanted, input))
        {
            return false;
        }

        var tampered = _wanted is not null && (present is null || (_seen is not null && _seen != present));
        Replace(input);
        _seen = List(input.Table);
        return tampered;
    }

    /// <summary>Makes one instance's addresses and ports what they should be, cheaply while the tables are as expected.</summary>
    public void Change(RulesetInput after, Attachment? was, Attachment? now)
    {
        var change = Ruleset.Change(after.Table, was, now);
        if (change.Length == 0)
        {
            return;
        }

        try
        {
            nft.Run(change);
            (_wanted, _seen) = (after, null);
        }
        catch (NftException)
        {
            // The table or an element is not what we left: put everything right at once. A refusal of that is reported.
            Replace(after);
        }
    }

    public void Delete(string table)
    {
        nft.Run(Ruleset.Delete(table));
        (_wanted, _seen) = (null, null);
    }

    private void Replace(RulesetInput input)
    {
        nft.Run(Ruleset.Replace(input));
        (_wanted, _seen) = (input, null);
    }

    private string? List(string table)
    {
        try
        {
            return nft.Run($"list table inet {table}") + nft.Run($"list table bridge {table}");
        }
        catch (NftException)
        {
            return null;
        }
    }

    private static bool Same(RulesetInput? wanted, RulesetInput input) => wanted is not null && Ruleset.Replace(wanted) == Ruleset.Replace(input);
}
