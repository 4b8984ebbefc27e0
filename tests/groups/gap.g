# What the tests ask GAP. Permutations come as lists of images of 1..n, answers leave as JSON.

# Functions of data libraries that GAP's own library calls even where these are not installed.
if not IsBound(GAPInfo.PackagesLoaded.transgrp) then
  InstallGlobalFunction(TransitiveGroupsAvailable, ReturnFalse);
fi;
if not IsBound(GAPInfo.PackagesLoaded.primgrp) then
  InstallGlobalFunction(PrimitiveGroupsAvailable, ReturnFalse);
fi;

Json := function(x)
  local entry;
  if x = fail then
    return "null";
  elif IsRecord(x) then
    entry := name -> Concatenation("\"", name, "\": ", Json(x.(name)));
    return Concatenation("{", JoinStringsWithSeparator(List(RecNames(x), entry), ", "), "}");
  elif IsList(x) then
    return Concatenation("[", JoinStringsWithSeparator(List(x, Json), ", "), "]");
  fi;
  return String(x);
end;

# Raw, for GAP breaks the lines that it prints.
Answer := function(x)
  WriteAll(OutputTextUser(), Concatenation("ANSWER ", Json(x), "\n"));
end;

Generated := generators -> GroupWithGenerators(List(generators, PermList), ());

# A cyclotomic number as [n, c], the exact sum of c[k] exp(2 pi i (k - 1)/n).
ExactValue := z -> [Conductor(z), CoeffsCyc(z, Conductor(z))];

# The character table, its columns the classes of the given elements in their order, and the
# dimension of each module's part that each given subgroup fixes.
CharacterFacts := function(generators, elements, exponents, subgroups)
  local group, table, classes, columns, fixed;
  group := Generated(generators);
  table := CharacterTable(group);
  classes := List(ConjugacyClasses(table), AsSSortedList);
  columns := List(elements, x -> PositionProperty(classes, c -> PermList(x) in c));
  fixed := function(chi, members)
    return Sum([1..Length(classes)], i -> Size(Intersection(members, classes[i])) * chi[i])
      / Size(members);
  end;
  subgroups := List(subgroups, s -> AsSSortedList(Generated(s)));
  return rec(
    columns := columns,
    sizes := SizesConjugacyClasses(table){columns},
    orders := OrdersClassRepresentatives(table){columns},
    powers := List(exponents, k -> List(PowerMap(table, k){columns}, c -> Position(columns, c))),
    indicators := Indicator(table, 2),
    values := List(Irr(table), chi -> List(chi{columns}, ExactValue)),
    fixed := List(subgroups, s -> List(Irr(table), chi -> fixed(chi, s))));
end;

# By partitions: of each character its own, and its values on the cycle types.
SymmetricCharacters := function(degree)
  local table, values;
  table := CharacterTable(SymmetricGroup(degree));
  values := List(Irr(table), ValuesOfClassFunction);
  return rec(
    partitions := List(CharacterParameters(table), p -> p[2]),
    cycles := List(ClassParameters(table), p -> p[2]),
    values := values);
end;

# How often each irreducible of a subgroup occurs in each of the group's, and the values of both.
RestrictionFacts := function(generators, elements, small_generators, small_elements)
  local group, small, values, restricted;
  group := Generated(generators);
  small := Subgroup(group, List(small_generators, PermList));
  values := {g, elements} -> List(Irr(g), chi -> List(elements, x -> ExactValue(PermList(x) ^ chi)));
  restricted := RestrictedClassFunctions(Irr(group), small);
  return rec(
    values := values(group, elements),
    small_values := values(small, small_elements),
    multiplicities := MatScalarProducts(CharacterTable(small), Irr(small), restricted));
end;

AreIsomorphic := function(left, right)
  if Size(left) <> Size(right) then
    return false;
  elif IdGroupsAvailable(Size(left)) then
    return IdGroup(left) = IdGroup(right);
  fi;
  return IsomorphismGroups(left, right) <> fail;
end;

# What a name says: a group, or some semidirect or direct product of two such shapes.
Shape := function(sign, left, right)
  if sign = 'x' and IsGroup(left) and IsGroup(right) then
    return DirectProduct(left, right);
  fi;
  return rec(sign := sign, left := left, right := right);
end;

HasShape := function(group, shape)
  local normal, complements;
  if IsGroup(shape) then
    return AreIsomorphic(group, shape);
  fi;
  normal := NormalSubgroups(group);
  complements := function(n)
    if shape.sign = 'x' then
      return Filtered(normal, k -> Size(Intersection(k, n)) = 1
        and Size(k) * Size(n) = Size(group));
    fi;
    return ComplementClassesRepresentatives(group, n);
  end;
  return ForAny(normal, n -> HasShape(n, shape.left)
    and ForAny(complements(n), k -> HasShape(k, shape.right)));
end;

# GAP's classes of subgroups, where each given subgroup is among them, and facts of the given;
# of each too whether it has one of some shapes, where there are any.
SubgroupFacts := function(generators, subgroups, shapes)
  local group, classes, holds;
  group := Generated(generators);
  classes := ConjugacyClassesSubgroups(group);
  subgroups := List(subgroups, s -> Subgroup(group, List(s, PermList)));
  holds := {class, s} -> Size(Representative(class)) = Size(s) and s in class;
  return rec(
    classes := List(classes, c -> [Size(Representative(c)), Size(c)]),
    places := List(subgroups, s -> PositionProperty(classes, c -> holds(c, s))),
    cores := List(subgroups, s -> Size(Core(group, s))),
    normalisers := List(subgroups, s -> Size(Normalizer(group, s))),
    fits := List([1..Length(subgroups)],
      i -> shapes[i] = [] or ForAny(shapes[i], shape -> HasShape(subgroups[i], shape))));
end;

# Of H g K for all g: an element and the number of elements.
DoubleCosetFacts := function(generators, left, right)
  local group, degree;
  degree := Length(generators[1]);
  group := Generated(generators);
  left := Subgroup(group, List(left, PermList));
  right := Subgroup(group, List(right, PermList));
  return List(DoubleCosetRepsAndSizes(group, left, right),
    pair -> [ListPerm(pair[1], degree), pair[2]]);
end;

CayleyTable := {order, number} -> MultiplicationTable(AsList(SmallGroup(order, number)));

# The group of x -> r x + b modulo a prime, r of the given order.
Frobenius := function(prime, degree)
  local r, map;
  r := PowerModInt(PrimitiveRootMod(prime), (prime - 1) / degree, prime);
  map := f -> PermList(List([0..prime - 1], x -> f(x) mod prime + 1));
  return Group(map(x -> x + 1), map(x -> r * x));
end;

Semidihedral16 := Group((1,2,3,4,5,6,7,8), (2,4)(3,7)(6,8));
