-- The table of users of a legacy shop, as such systems have one: passwords as bcrypt.
create table customers (
    id bigint generated always as identity primary key,
    login text not null unique,
    password_hash text not null,
    roles text[] not null default '{}',
    locked boolean not null default false
);

insert into customers (login, password_hash, roles) values
    -- correct horse battery staple
    ('alice', '$2b$10$rFkh2DN7znioQI6uD8lUH.mDKJcEaesf5OPbDuQdY/eEgnUGJOffC', '{buyer}'),
    -- tr0ub4dor and three
    ('bob', '$2b$10$2Ql3OiM9uFCZoqssnXzqre5wLsbTsHNCDgeo2Akmrr0S6zVjW7oie', '{}');
