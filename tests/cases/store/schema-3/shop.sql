create table users (id integer, name text, email text, password text, roles text);
insert into users values (7, 'carol', 'carol@example.com', '$argon2id$v=19$m=19456,t=2,p=1$3pg1O6ubeKcB/kLDJIP4Fw$i8zeUjXfuUevaeMyNiUeuIfffcEVts8gh5yG/tEGFnw', 'buyer');
insert into users values (8, 'dave', 'dave@example.com', '$argon2id$v=19$m=19456,t=2,p=1$3pg1O6ubeKcB/kLDJIP4Fw$i8zeUjXfuUevaeMyNiUeuIfffcEVts8gh5yG/tEGFnw', 'buyer');
