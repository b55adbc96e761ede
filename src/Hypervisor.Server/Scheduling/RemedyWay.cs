using System.Globalization;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling;

/// <summary>Steps that help at one node, and the nodes at which the same would help.</summary>
internal sealed class RemedyWay : IComparable<RemedyWay>
{
    private const int MaxNodes = 3;
    private const int MaxText = 200;

    private readonly List<string> _names = new(MaxNodes);
    private readonly string _kinds;
    private CandidateNode _node;
    private IReadOnlyList<Remedy> _steps;
    private int _nodes;

    public RemedyWay(CandidateNode node, IReadOnlyList<Remedy> steps)
    {
        (_node, _steps) = (node, steps);
        _kinds = string.Join(' ', steps.Select(step => ((int)step.Kind).ToString("00", CultureInfo.InvariantCulture)).Order(StringComparer.Ordinal));
        Count(node);
    }

    public IReadOnlyList<Remedy> Steps => _steps;

    private double Lack => _steps.Sum(step => step.Lack);

    /// <summary>The same for nodes that lack the same, and for all that lack room of the same.</summary>
    public static string KeyOf(IReadOnlyList<Remedy> steps) =>
        string.Join('\n', steps.Select(step => $"{(int)step.Kind}{(step.Kind is RemedyKind.Uncordon or RemedyKind.ReviveNode ? "" : step.Subject)}"));

    /// <summary>At one node only: of the others that have the same key nobody knows whether they can do without.</summary>
    public RemedyWay Without(Remedy step) => new(_node, [.. _steps.Where(other => !ReferenceEquals(other, step))]);

    public bool IsOfKind(RemedyWay other) => _kinds == other._kinds;

    /// <summary>Another node with the same key: where less has to be given up, it is the better one.</summary>
    public void Offer(CandidateNode node, IReadOnlyList<Remedy> steps)
    {
        var lack = steps.Sum(step => step.Lack);
        if (lack < Lack)
        {
            (_node, _steps, _nodes) = (node, steps, 0);
            _names.Clear();
        }

        if (steps.Select(step => (step.Less, step.LessDevices)).SequenceEqual(_steps.Select(step => (step.Less, step.LessDevices))))
        {
            Count(node);
        }
    }

    public int CompareTo(RemedyWay? other)
    {
        if (other is null || _steps.Count != other._steps.Count)
        {
            return _steps.Count.CompareTo(other?._steps.Count ?? 0);
        }

        var byKind = string.CompareOrdinal(_kinds, other._kinds);
        var byLack = byKind != 0 ? byKind : Lack.CompareTo(other.Lack);
        var byNodes = byLack != 0 ? byLack : other._nodes.CompareTo(_nodes);
        return byNodes != 0 ? byNodes : string.CompareOrdinal(_node.Name, other._node.Name);
    }

    public (PlacementRequest Request, CandidateNode Node) Apply(PlacementRequest request) => _steps.Aggregate(
        (request, _node), (at, step) => (step.OnRequest?.Invoke(at.request) ?? at.request, step.OnNode?.Invoke(at._node) ?? at._node));

    public PlacementRemedy ToMessage()
    {
        var message = new PlacementRemedy { Text = Text(), Steps = { _steps.Select(step => step.ToMessage()) } };
        if (!IsAddition)
        {
            message.Nodes.AddRange(_names);
            message.NodesTotal = _nodes;
        }

        return message;
    }

    private bool IsAddition => _steps[0].Kind == RemedyKind.AddNode;

    private void Count(CandidateNode node)
    {
        _nodes++;
        if (_names.Count < MaxNodes)
        {
            _names.Add(node.Name);
        }
    }

    private string Text()
    {
        var text = string.Join(", and ", _steps.Select(step => step.Text));
        var where = (IsAddition, NamesNode: _steps.Any(step => step.OnNode is not null), _nodes) switch
        {
            (true, _, _) or (_, true, 1) => "",
            (_, true, 2) => $", or the same with {_names[1]}",
            (_, true, _) => $", or the same with one of {_nodes - 1} others",
            (_, _, 1) => $" ({_node.Name})",
            _ => $" ({RejectionTally.NodesText(_nodes)})",
        };
        return text.Length + where.Length <= MaxText ? text + where : $"{text[..(MaxText - where.Length - 1)]}…{where}";
    }
}
